"""Where programs come from: a model that is asked for them step by step, or a file that holds one."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from cairn import prompts
from cairn.errors import CairnError, ConversationTooLong, TaskFailed, UsageProblem
from cairn.journal import CUT, MessageRecord
from cairn.language_model import AnswerCut, Completion, Message, TextModel, watched
from cairn.program import Finished, Limits, Problem, Program, Step
from cairn.program_in_answer import mentions, program_in
from cairn.progress import Answered, Asking, CheckFailed, Checking, Observer, Prompted, Shortened, Writing, unobserved
from cairn.retry import GiveUp, RetryStrategy
from cairn.shortening import KEPT, SMALLEST, TIMES, WHOLE, Cuts, harder, share_that_fits

SUBMIT = "submit_result"
_QUOTED = 200  # characters of an answer that are shown in an error


@dataclass(slots=True)
class Room:
    """How many characters of a conversation its model could read; None while it never refused one."""

    characters: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationContext:
    """What a source may use while it makes a program.

    `check` says what keeps a program from running, without running it. `record` keeps each prompt and answer, and
    `changed` names the files that the task has changed by now. `answered` gives what a model answered for a step before
    the task was interrupted; it is not asked for that again. `opening` is what is told of the project before the task.
    `metered` gives a model whose calls the task's limits and the project's budget pay for. `room` is what its steps
    learn of how much the model can read.
    """

    check: Callable[[str], Awaitable[tuple[Problem, ...]]]
    limits: Limits
    observe: Observer = unobserved
    record: Callable[[MessageRecord], None] = lambda _message: None
    changed: Callable[[], tuple[str, ...]] = tuple
    answered: Callable[[int], Sequence[MessageRecord]] = lambda _step: ()
    opening: Sequence[tuple[str, str]] = ()
    metered: Callable[[TextModel], TextModel] = lambda model: model
    room: Room = field(default_factory=Room)


class CodeSource(Protocol):
    """Gives a task its programs, one per step."""

    @property
    def label(self) -> str:
        """How people see who wrote the programs."""
        ...

    @property
    def answers(self) -> bool:
        """True when it answers what a program came to with another program; False for a source of one program."""
        ...

    async def code_for(self, request: str, steps: Sequence[Step], context: GenerationContext) -> Program | None:
        """The next program after `steps`, checked; None when the source has nothing further."""
        ...


class NoProgram(TaskFailed):
    """A model answered, and was asked again, without a program."""

    def __init__(self, model: str, answer: str) -> None:
        said = " ".join(answer.split())
        super().__init__(
            f"{model} did not answer with a program.",
            f'It said: "{said if len(said) <= _QUOTED else said[: _QUOTED - 1] + "…"}"',
            "Say the task more exactly, or use another model: cairn run -m MODEL",
        )


class ProgramsRefused(TaskFailed):
    """Every program that a model wrote for one step failed its check. `problems` are those of the last one."""

    def __init__(self, model: str, tries: int, problems: Sequence[Problem]) -> None:
        answers = f"{tries} programs in a row" if tries > 1 else "a program"
        listed = "; ".join(str(problem) for problem in problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004 - three fit a screen
        super().__init__(
            f"{model} wrote {answers} that cannot run.",
            f"The last one: {listed}{more}",
            "Say the task in smaller parts, use another model (-m), or allow more repairs (limits.repairs).",
        )
        self.problems = tuple(problems)


# ── a model ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CodeGenerator:
    """Asks a model. Every call carries the whole conversation, rebuilt from the steps, so nothing is lost by a restart.

    `function_reference` is what the model reads about the external functions.
    """

    model: TextModel
    function_reference: str

    @property
    def answers(self) -> bool:
        """A model sees what its program came to, and goes on."""
        return True

    @property
    def label(self) -> str:
        """The model's name."""
        return self.model.name

    async def code_for(self, request: str, steps: Sequence[Step], context: GenerationContext) -> Program | None:
        """Raises ProgramsRefused or NoProgram when the repair budget is spent, ModelProblem when a call fails."""
        if steps and _is_submitted(steps[-1]):
            return None
        system = prompts.system_prompt(self.function_reference, context.limits)
        model = context.metered(watched(self.model, context.observe))
        return await _Talk(model, system, request, steps, context).program()


def conversation(request: str, steps: Sequence[Step], context: GenerationContext, cuts: Cuts = WHOLE) -> list[Message]:
    """Request, program, what came of it, program, ...: ends with what the model must answer next.

    With `cuts` it is shorter, and says so at its end.
    """
    whole = len(context.opening) - cuts.sections
    opening = [
        (heading, text if place < whole else prompts.left_out(text, KEPT))
        for place, (heading, text) in enumerate(context.opening)
    ]
    turns = [Message("user", prompts.task_message(request, opening))]
    calls_left = context.limits.calls
    for place, step in enumerate(steps):
        calls_left -= step.result.run.calls
        newest = step is steps[-1]
        limits = replace(context.limits, output_chars=KEPT) if _is_cut(cuts, place, newest) else context.limits
        changed = context.changed() if newest else None
        said = prompts.observation(step, limits, changed=changed, calls_left=max(0, calls_left))
        text = prompts.program_left_out(step.program.text) if place < cuts.programs else step.program.text
        turns += [Message("assistant", _as_answer(text)), Message("user", said)]
    if cuts:
        turns[-1] = Message("user", f"{turns[-1].text}\n{prompts.SHORTENED}")
    return turns


def _is_cut(cuts: Cuts, place: int, newest: bool) -> bool:
    return place < cuts.outputs or (newest and cuts.newest)


def fitting(request: str, steps: Sequence[Step], context: GenerationContext, room: int) -> list[Message]:
    """The conversation with as few cuts as make it fit, or with all there are."""
    turns: list[Message] = []
    for cuts in harder(len(steps), len(context.opening)):
        turns = conversation(request, steps, context, cuts)
        if size(turns) <= room:
            break
    return turns


def size(turns: Sequence[Message]) -> int:
    """Characters of all turns."""
    return sum(len(turn.text) for turn in turns)


def _is_submitted(step: Step) -> bool:
    return isinstance(step.result, Finished) and step.result.submission is not None


def _as_answer(program: str) -> str:
    return f"```python\n{program.strip()}\n```"


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer without a usable program: as the model remembers it, the reply, and the error if it was the last."""

    answer: str
    reply: str
    error: CairnError


@dataclass(slots=True)
class _Talk:
    """One step's exchange: ask, look for a program, check it, send it back with what to mend, until one passes."""

    model: TextModel
    system: str
    request: str
    steps: Sequence[Step]
    context: GenerationContext
    before: list[Message] = field(default_factory=list)
    repairs: list[Message] = field(default_factory=list)
    answered: Iterator[MessageRecord] = field(default_factory=lambda: iter(()))
    prose: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def step(self) -> int:
        """The number of the step whose program is wanted."""
        return len(self.steps) + 1

    async def program(self) -> Program:
        self._rebuild()
        answered = self.context.answered(self.step)
        self.answered = iter(answered)
        if self.step == 1 and not answered:
            self.context.record(MessageRecord(self.step, "system", self.system))
            self.context.observe(Prompted("system", self.system))
        budget = RetryStrategy.at_once(self.context.limits.repairs + 1, retries=self._may_mend)
        for attempt in itertools.count(1):
            outcome = await self._try(attempt)
            if isinstance(outcome, Program):
                return outcome
            if isinstance(budget.next(attempt, outcome.error), GiveUp):
                raise outcome.error
            self.repairs += [Message("assistant", outcome.answer), Message("user", outcome.reply)]
        raise AssertionError  # counting never ends

    def _rebuild(self) -> None:
        room = self.context.room.characters
        if room is None:
            self.before = conversation(self.request, self.steps, self.context)
        else:
            self.before = fitting(self.request, self.steps, self.context, room - len(self.system) - size(self.repairs))

    def _may_mend(self, error: BaseException) -> bool:
        """Prose is asked about once; a model that has no program to give would go on talking."""
        return not isinstance(error, NoProgram) or self.prose == 1

    async def _try(self, attempt: int) -> Program | _Refused:
        left = self.context.limits.repairs + 1 - attempt
        try:
            answer = await self._ask(attempt)
        except AnswerCut as cut:
            return _Refused("(This answer was cut off.)", prompts.cut_off(left), cut)
        code = program_in(answer.text)
        if code is None:
            self.prose += 1
            return _Refused(answer.text, prompts.no_program(), NoProgram(self.model.name, answer.text))
        self.context.observe(Checking())
        problems = await self.context.check(code)
        if not problems:
            return Program(code, self.model.name, attempt - 1, self.input_tokens, self.output_tokens)
        self.context.observe(CheckFailed(problems))
        refusal = ProgramsRefused(self.model.name, attempt, problems)
        return _Refused(_as_answer(code), prompts.refused(problems, left), refusal)

    async def _ask(self, attempt: int) -> Completion:
        known = next(self.answered, None)
        answer = _known(known) if known else await self._ask_for_less(attempt)
        self.input_tokens += answer.input_tokens
        self.output_tokens += answer.output_tokens
        return answer

    async def _ask_for_less(self, attempt: int) -> Completion:
        """Asks again with a shorter conversation when the model cannot read so much."""
        for tries in itertools.count():
            try:
                return await self._ask_model(attempt)
            except ConversationTooLong as refusal:
                left_out = self._shorten(refusal) if tries < TIMES else 0
                if not left_out:
                    if self.context.room.characters is not None:
                        refusal.why += " It was sent again with less in it, and was too long still."
                    raise
                self.context.observe(Shortened(self.model.name, left_out))
        raise AssertionError  # counting never ends

    def _shorten(self, refusal: ConversationTooLong) -> int:
        """How many characters less there are now; 0 when there is nothing to leave out."""
        sent, known = len(self.system) + size([*self.before, *self.repairs]), self.context.room.characters
        room = int(sent * share_that_fits(refusal.why))
        if room >= SMALLEST:
            self.context.room.characters = room
            self._rebuild()
        left_out = sent - len(self.system) - size([*self.before, *self.repairs])
        if left_out <= 0:
            self.context.room.characters = known
        return max(left_out, 0)

    async def _ask_model(self, attempt: int) -> Completion:
        *history, question = *self.before, *self.repairs
        observe, name = self.context.observe, self.model.name
        observe(Asking(name, attempt - 1))
        observe(Prompted("user", question.text))
        self.context.record(MessageRecord(self.step, "user", question.text))
        try:
            answer = await self.model.complete(
                question.text, system=self.system, history=history, on_text=lambda received: observe(Writing(received))
            )
        except AnswerCut as cut:
            self.context.record(MessageRecord(self.step, CUT, str(cut), name))
            raise
        observe(Answered(name, answer.seconds, answer.input_tokens, answer.output_tokens))
        tokens = (answer.input_tokens, answer.output_tokens)
        self.context.record(MessageRecord(self.step, "assistant", answer.text, name, answer.seconds, *tokens))
        return answer


def _known(record: MessageRecord) -> Completion:
    """An answer of before the task was interrupted. Raises AnswerCut where it was cut."""
    if record.role == CUT:
        raise AnswerCut(record.text)
    return Completion(record.text, record.input_tokens, record.output_tokens, record.seconds, record.model)


# ── a file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class FileSource:
    """A program given as text. It is the task's first program and the only one."""

    answers = False

    def __init__(self, text: str, name: str) -> None:
        """Raises UsageProblem for a program that is empty or never submits: nobody could review what it did."""
        self.label = name
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        if not self.text.strip():
            raise UsageProblem(f"The program {name} is empty.", fix="examples/ holds programs to start from.")
        if not mentions(SUBMIT, self.text):
            raise UsageProblem(
                f"The program {name} never calls {SUBMIT}, so it was not run.",
                "A task ends with a submission: what it did, and which files it changed.",
                f'Add as its last line: {SUBMIT}("what was done", ["path/of/changed_file.py"])',
            )

    async def code_for(self, request: str, steps: Sequence[Step], context: GenerationContext) -> Program | None:  # noqa: ARG002
        """The program, once. Raises UsageProblem with every line that its check refuses."""
        if steps:
            return None
        context.observe(Checking())
        problems = await context.check(self.text)
        if problems:
            context.observe(CheckFailed(problems))
            listed = "\n".join(str(problem) for problem in problems)
            raise UsageProblem(f"The program {self.label} cannot run; nothing of it did.", listed, "Mend it there.")
        return Program(self.text, self.label)
