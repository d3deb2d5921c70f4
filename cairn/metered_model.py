"""A model whose every call is reserved before it is made, and settled or released after: within limits and budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cairn.day_budget import DayBudget, Held, NoRoom, day_of
from cairn.errors import ModelProblem, ModelUnavailable, UsageProblem, in_one_line
from cairn.lacks import Lack
from cairn.metering import FREE, Ceilings, Meter, Price, Prices, Short, Spent, estimated_tokens, picos
from cairn.model_pauses import ModelPauses, concerns_all_tasks
from cairn.program import AtLimit, Limits
from cairn.progress import CanAsk, CannotAsk, HeldBack, Observer, unobserved
from cairn.putting_off import LACKING, PAUSED

if TYPE_CHECKING:
    from cairn.language_model import Completion, Message, TextModel

POLL_SECONDS = 0.5  # how often the ledger is asked whether another process has given room back
GROWTH_TOKENS = 1_000  # what is reserved further for an answer that turns out longer

_OF_TASK = {"calls": "model_calls", "input_tokens": "input_tokens", "output_tokens": "output_tokens", "picos": "money"}
_OF_DAY = {"tokens": "tokens_per_day", "picos": "money_per_day"}


def ceilings_of_day(tokens: int | None, money: float | None) -> Ceilings:
    """What the project may spend in a day, as the meter has it."""
    return Ceilings(tokens=tokens, picos=None if money is None else picos(money))


@dataclass(frozen=True, slots=True)
class PausedModels:
    """Which models are not asked now. `patient`: a task stops at such a model, to go on later; else it asks anyway.

    `names` are those under which tasks wait for what answers each purpose; `observe` hears which can be asked here.
    """

    pauses: ModelPauses
    patient: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    observe: Observer = unobserved

    def require_unpaused(self, model: str) -> None:
        """Raises AtLimit, for a patient task, while the model is paused."""
        if self.patient and self.pauses.of(model) is not None:
            raise AtLimit(PAUSED, 0, model)

    def failed(self, model: str, purpose: str, error: ModelProblem) -> None:
        """Raises AtLimit, for a patient task, when the error pauses the model, or no worker here could ask it."""
        if isinstance(error, ModelUnavailable) and self.patient:
            lack = Lack.of(self.names.get(purpose, model), error)
            self.observe(CannotAsk(lack))
            raise AtLimit(LACKING, 0, f"{lack.model}\n{in_one_line(error)}") from error
        if concerns_all_tasks(error):
            self.pauses.begin(model, error)
            if self.patient:
                raise AtLimit(PAUSED, 0, model) from error

    def answered(self, model: str, purpose: str) -> None:
        """It is paused no more, and can be asked here."""
        self.pauses.end(model)
        self.observe(CanAsk(self.names.get(purpose, model)))


@dataclass(slots=True)
class _Hold:
    """One call under way, and the room that is reserved for it."""

    model: str
    price: Price | None
    spent: Spent
    day: Held | None = None
    refused: AtLimit | None = None


class Account:
    """What one task spends on models. `keep` gets the model's name, the purpose and what each call took.

    `spent` is what it spent before; `day` is the project's budget, of which `task` takes its part.
    """

    def __init__(
        self,
        limits: Limits,
        prices: Prices,
        keep: Callable[[str, str, Spent], None],
        *,
        spent: Spent | None = None,
        day: DayBudget | None = None,
        paused: PausedModels | None = None,
        task: str = "",
        observe: Observer = unobserved,
    ) -> None:
        money = None if limits.money is None else picos(limits.money)
        ceilings = Ceilings(limits.model_calls, limits.input_tokens, limits.output_tokens, None, money)
        self._meter = Meter(ceilings, spent or Spent())
        self._limits = limits
        self._prices = prices
        self._keep = keep
        self._day = day
        self._paused = paused
        self._task = task
        self._observe = observe
        self._freed = asyncio.Event()

    def metered(self, model: TextModel, purpose: str) -> TextModel:
        """The same model, paid by this account."""
        return MeteredModel(model, self, purpose)

    async def hold(self, model: TextModel, input_tokens: int) -> _Hold:
        """Room for one call. Raises AtLimit when there is none, UsageProblem when nobody knows what it costs.

        Calls under way may give back room, so they are waited for before that is said.
        """
        if self._paused is not None:
            self._paused.require_unpaused(model.name)
        price = FREE if model.draft else self._prices.price(model.name)
        self._require_price(model.name, price)
        while isinstance(got := self._meter.reserve(input_tokens, price), Short):
            if not self._meter.reserved.calls:
                raise self._at_limit(got.of)
            await self._freed.wait()
        self._meter, spent = got
        hold = _Hold(model.name, price, spent)
        try:
            await self._hold_of_day(hold)
        except BaseException:
            self._free(self._meter.release(hold.spent))
            raise
        return hold

    def grow(self, hold: _Hold, output_tokens: int) -> bool:
        """Room for a longer answer; False, with `hold.refused` saying why, when there is none."""
        if output_tokens <= hold.spent.output_tokens:
            return True
        got = self._meter.grow(hold.spent, hold.price, output_tokens + GROWTH_TOKENS)
        if isinstance(got, Short):
            hold.refused = self._at_limit(got.of)
            return False
        meter, spent = got
        if self._day is not None and hold.day is not None:
            more = self._day.grow(hold.day, hold.price, spent.output_tokens)
            if isinstance(more, NoRoom):
                hold.refused = self._at_limit_of_day(more)
                return False
            hold.day = more
        self._meter, hold.spent = meter, spent
        return output_tokens <= spent.output_tokens or self.grow(hold, output_tokens)

    def settle(self, hold: _Hold, purpose: str, used: Spent) -> None:
        """The call took this."""
        if self._day is not None and hold.day is not None:
            self._day.settle(hold.day, used)
        self._free(self._meter.settle(hold.spent, used))
        self._keep(hold.model, purpose, used)

    def release(self, hold: _Hold) -> None:
        """The call took nothing."""
        if self._day is not None and hold.day is not None:
            self._day.release(hold.day)
        self._free(self._meter.release(hold.spent))

    def failed(self, model: TextModel, purpose: str, error: ModelProblem) -> None:
        """A call failed. Raises AtLimit when it is no use for this task to go on now."""
        if self._paused is not None and not model.draft:
            self._paused.failed(model.name, purpose, error)

    def answered(self, model: TextModel, purpose: str) -> None:
        """A call succeeded, so the model is not paused, whatever another one said."""
        if self._paused is not None:
            self._paused.answered(model.name, purpose)

    def _free(self, meter: Meter) -> None:
        self._meter = meter
        self._freed.set()
        self._freed = asyncio.Event()

    async def _hold_of_day(self, hold: _Hold) -> None:
        if self._day is None:
            return
        told = ""
        while isinstance(got := self._day.reserve(self._task, hold.model, hold.price, hold.spent), NoRoom):
            if not got.for_now:
                raise self._at_limit_of_day(got)
            if got.of != told:
                self._observe(HeldBack(_held_back(hold.model, got.of)))
                told = got.of
            await asyncio.sleep(POLL_SECONDS)
        without = self._meter.release(hold.spent)
        fitting = without.reserve(got.spent.input_tokens, hold.price, got.spent.output_tokens)
        if not isinstance(fitting, Short):
            self._meter, hold.spent = fitting
        hold.day = got

    def _require_price(self, model: str, price: Price | None) -> None:
        if price is not None:
            return
        of_day = self._day is not None and self._day.ceilings.picos is not None
        if self._limits.money is None and not of_day:
            return
        limit = "budget.money_per_day" if self._limits.money is None else "limits.money"
        raise UsageProblem(
            f"The price of {model} is not known, so {limit} cannot be judged; {model} was not asked.",
            "An unknown price is not taken for nothing.",
            ("[prices]   in cairn.toml says it, for a million tokens:", f'"{model}" = {{input = ..., output = ...}}'),
        )

    def _at_limit(self, of: str) -> AtLimit:
        name = _OF_TASK[of]
        return AtLimit(
            name, getattr(self._limits, name), f"{_used(of, self._meter.spent)}; a further call could pass it"
        )

    def _at_limit_of_day(self, no_room: NoRoom) -> AtLimit:
        assert self._day is not None  # noqa: S101 - whoever has no room there has a day
        ceilings = self._day.ceilings
        allowed = ceilings.tokens if no_room.of == "tokens" else (ceilings.picos or 0) / picos(1)
        now = self._day.clock()
        minutes = int(day_of(now)[1] - now) // 60
        detail = (
            f"{_used(no_room.of, no_room.used)} today; free again at midnight, in {minutes // 60} h {minutes % 60} min"
        )
        return AtLimit(_OF_DAY[no_room.of], allowed or 0, detail)


def _held_back(model: str, of: str) -> str:
    if of in _OF_DAY:
        return "other tasks' calls of models have reserved what is left for today"
    return f"{model} is asked as fast as [rates] allows ({of})"


def _used(of: str, spent: Spent) -> str:
    if of == "picos":
        return f"{spent.picos / picos(1):g} is spent"
    return f"{getattr(spent, of):,} {'are made' if of == 'calls' else 'tokens are used'}"


class MeteredModel:
    """A `TextModel` that asks its account first, and is stopped in the middle of an answer too long for it."""

    def __init__(self, model: TextModel, account: Account, purpose: str) -> None:
        self.name = model.name
        self.draft = model.draft
        self._model = model
        self._account = account
        self._purpose = purpose

    async def complete(
        self,
        prompt: str,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        on_text: Callable[[int], None] | None = None,
    ) -> Completion:
        """The model's answer. Raises AtLimit when it was not asked, or stopped on the way, because of a limit."""
        sent = estimated_tokens(len(prompt) + len(system) + sum(len(message.text) for message in history))
        hold = await self._account.hold(self._model, sent)
        heard = 0

        def hear(received: int) -> None:
            nonlocal heard
            heard = received
            if hold.refused is None and not self._account.grow(hold, estimated_tokens(received)):
                call.cancel()
                if asyncio.current_task() is call:  # text that is there already comes without a pause to be stopped in
                    raise asyncio.CancelledError
            if on_text is not None:
                on_text(received)

        call = asyncio.ensure_future(self._model.complete(prompt, system=system, history=history, on_text=hear))
        try:
            answer = await call
        except BaseException as error:
            failed_unheard = not heard and not isinstance(error, asyncio.CancelledError)
            if failed_unheard:
                self._account.release(hold)
            else:
                self._settle(hold, sent, estimated_tokens(heard), estimated=True)
            stopped = isinstance(error, ModelProblem | asyncio.CancelledError) and hold.refused is not None
            if stopped and hold.refused is not None and not _is_cancelled():
                raise hold.refused from None
            if isinstance(error, ModelProblem):
                self._account.failed(self._model, self._purpose, error)
            raise
        self._account.answered(self._model, self._purpose)
        if answer.input_tokens or answer.output_tokens:
            self._settle(hold, answer.input_tokens, answer.output_tokens)
        else:
            self._settle(hold, sent, estimated_tokens(len(answer.text)), estimated=True)
        return answer

    def _settle(self, hold: _Hold, input_tokens: int, output_tokens: int, *, estimated: bool = False) -> None:
        used = Spent.on(hold.price, input_tokens, output_tokens, estimated=estimated)
        self._account.settle(hold, self._purpose, used)


def _is_cancelled() -> bool:
    """True when somebody wants the caller itself to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
