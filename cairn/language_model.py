"""Language models as Cairn uses them: one question, one whole answer, or an error that says what to do.

The only file that knows `llm`. Every model of every `llm` plug-in is reached through `LanguageModel`, which adds what
`llm` leaves to its callers: a deadline, retries, and the refusal of answers that are empty or were cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from cairn.errors import CairnError, ModelCallFailed, ModelProblem, ModelUnavailable
from cairn.llm_faults import blame
from cairn.progress import Observer, Waiting, unobserved
from cairn.provider_errors import CUT, DECLINED, TOO_LONG, Provider, finish_reason, translate
from cairn.retry import GiveUp, RetryStrategy

if TYPE_CHECKING:
    from cairn.settings import RetrySettings

T = TypeVar("T")
Role = Literal["user", "assistant"]

CALL_SECONDS = 180.0
_STALL_SECONDS = 90.0  # between two pieces of text; before the first one a model may think as long as the call lasts
_OPENAI_ADAPTERS = "llm.default_plugins.openai_models"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, never an empty or a cut one. Tokens are 0 where the provider sent none."""

    text: str
    input_tokens: int
    output_tokens: int
    seconds: float
    model: str


class TextModel(Protocol):
    """Answers questions. `draft` is True for a model whose sentences must be marked as drafts."""

    @property
    def name(self) -> str:
        """As people know it, for example "gpt-5.6-luna"."""
        ...

    @property
    def draft(self) -> bool:
        """True when nobody should take the text without reading it."""
        ...

    async def complete(
        self,
        prompt: str,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        on_text: Callable[[int], None] | None = None,
    ) -> Completion:
        """Raises ModelProblem for anything but a whole answer. `on_text` hears the characters received so far."""
        ...


class AnswerCut(ModelCallFailed):
    """The answer reached the provider's length limit: the same call would be cut again, a shorter answer would not."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Any `llm` model, sync or async, as a TextModel. A sync one runs in a thread of its own.

    Each try of a call has `call_seconds`; what may pass (rate limit, timeout, 5xx, a cut stream) is tried again as
    `strategy` says, and `observe` hears of each wait.
    """

    model: Any  # llm.Model, llm.KeyModel, llm.AsyncModel or llm.AsyncKeyModel
    key: str | None = field(default=None, repr=False)
    strategy: RetryStrategy = field(default_factory=RetryStrategy)
    call_seconds: float = CALL_SECONDS
    observe: Observer = unobserved
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def name(self) -> str:
        """The model's id, never an alias."""
        return str(self.model.model_id)

    @property
    def draft(self) -> bool:
        """False: what such a model writes is shown as its own."""
        return False

    async def complete(
        self,
        prompt: str,
        *,
        system: str = "",
        history: Sequence[Message] = (),
        on_text: Callable[[int], None] | None = None,
    ) -> Completion:
        """The answer of the first try that gave a whole one; raises the last try's error."""
        attempt = 1
        while True:
            try:
                return await self._try(_Question(prompt, system.strip(), tuple(history)), on_text or _unheard)
            except ModelProblem as problem:
                decision = self.strategy.next(attempt, problem)
                if isinstance(decision, GiveUp):
                    _add_reason(problem, attempt, decision)
                    raise
                reason = f"{problem.what.rstrip('.')} (try {attempt} of {self.strategy.attempts})"
            self.observe(Waiting(reason, decision.after))
            await self.sleep(decision.after)
            attempt += 1

    async def _try(self, question: _Question, on_text: Callable[[int], None]) -> Completion:
        started = time.monotonic()
        model, clients = _with_our_patience(self.model, self.call_seconds)
        ask = _ask_async if _is_async(model) else _ask_sync
        try:
            answer = await ask(model, question.arguments(model, self.key), on_text, self.call_seconds)
        except ModelProblem:
            raise
        except Exception as error:
            raise translate(error, _provider(self.model, self.call_seconds, self.key)) from error
        finally:
            await _close(clients)
        _require_whole(answer, self)
        seconds = time.monotonic() - started
        return Completion(answer.text, answer.input_tokens, answer.output_tokens, seconds, self.name)


def watched(model: TextModel, observe: Observer) -> TextModel:
    """The same model, telling its waits to a task's own observer if it is of the kind that waits."""
    return replace(model, observe=observe) if isinstance(model, LanguageModel) else model


def _unheard(_characters: int) -> None:
    """A listener that wants to know nothing."""


def _add_reason(problem: ModelProblem, attempt: int, decision: GiveUp) -> None:
    if attempt > 1 or getattr(problem, "retry_after", None):
        problem.why = f"{problem.why.rstrip('.')}; {decision.reason}.".lstrip("; ")


# ── one call ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Question:
    prompt: str
    system: str
    history: tuple[Message, ...]

    def arguments(self, model: Any, key: str | None) -> dict[str, Any]:
        """What `prompt()` takes. No options: each provider names them differently, and the defaults serve."""
        import llm

        question = self if model.supports_conversation else self._in_one_prompt()
        if not _takes_system(model):
            question = question._with_system_as_text()  # noqa: SLF001 - its own class
        # The system prompt goes out in both forms on every turn: some adapters read one, some the other.
        messages = [llm.system(question.system)] if question.system else []
        messages += [llm.user(m.text) if m.role == "user" else llm.assistant(m.text) for m in question.history]
        return {
            "prompt": question.prompt,
            "system": question.system or None,
            "messages": messages,
            "stream": bool(model.can_stream),
            "key": key,
        }

    def _in_one_prompt(self) -> _Question:
        said = [f"{'You said' if m.role == 'assistant' else 'I said'}:\n{m.text}" for m in self.history]
        return _Question("\n\n".join([*said, self.prompt]), self.system, ())

    def _with_system_as_text(self) -> _Question:
        if not self.system:
            return self
        if not self.history:
            return _Question(f"{self.system}\n\n{self.prompt}", "", ())
        first, *rest = self.history
        return _Question(self.prompt, "", (Message(first.role, f"{self.system}\n\n{first.text}"), *rest))


def _takes_system(model: Any) -> bool:
    return bool(getattr(model, "allows_system_prompt", True)) and not _only_completes(model)


def _only_completes(model: Any) -> bool:
    """True for OpenAI's oldest kind, which knows no system prompt and whose adapter drops the finish reason."""
    return any(c.__name__ == "Completion" and c.__module__ == _OPENAI_ADAPTERS for c in type(model).__mro__)


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    input_tokens: int
    output_tokens: int
    raw: Mapping[str, Any] | None
    model: Any

    @classmethod
    def of(cls, response: Any, text: str) -> _Answer:
        return cls(
            text, response.input_tokens or 0, response.output_tokens or 0, response.response_json, response.model
        )


def _is_async(model: Any) -> bool:
    import llm

    return isinstance(model, (llm.AsyncModel, llm.AsyncKeyModel))


def _provider(model: Any, seconds: float = CALL_SECONDS, key: str | None = None) -> Provider:
    return Provider(
        str(model.model_id),
        seconds,
        key_name=model.needs_key or "",
        key_variable=(model.needs_key and model.key_env_var) or "",
        address=getattr(model, "api_base", None) or "",
        key=_secret(model, key),
    )


def _secret(model: Any, key: str | None) -> str | None:
    """The key that was sent, wherever it came from, so that no error repeats it."""
    with contextlib.suppress(Exception):  # without a key there is nothing to hide
        found = model.get_key(key)
        return str(found) if found else None
    return None


async def _ask_async(model: Any, arguments: Mapping[str, Any], on_text: Callable[[int], None], limit: float) -> _Answer:
    deadline = asyncio.get_running_loop().time() + limit
    pieces: list[str] = []
    received = 0
    async with asyncio.timeout_at(deadline) as timer:
        response = model.prompt(**arguments)
        async for piece in response:
            pieces.append(piece)
            received += len(piece)
            on_text(received)
            timer.reschedule(min(deadline, asyncio.get_running_loop().time() + _STALL_SECONDS))
    return _Answer.of(response, "".join(pieces))


async def _ask_sync(model: Any, arguments: Mapping[str, Any], on_text: Callable[[int], None], limit: float) -> _Answer:
    """The thread is a daemon and is left behind at the deadline: nothing can stop it, and nothing waits for it."""
    loop = asyncio.get_running_loop()
    given_up = threading.Event()

    def ask() -> _Answer:
        pieces: list[str] = []
        received = 0
        response = model.prompt(**arguments)
        for piece in response:
            if given_up.is_set():
                break
            pieces.append(piece)
            received += len(piece)
            loop.call_soon_threadsafe(on_text, received)
        return _Answer.of(response, "".join(pieces))

    try:
        async with asyncio.timeout(limit):
            return await in_own_thread(ask)
    finally:
        given_up.set()


async def in_own_thread(work: Callable[[], T]) -> T:
    """Unlike `asyncio.to_thread`, never joined: the process may end while the thread still waits for a server."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (work(), None)
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="cairn-model-call", daemon=True).start()
    return await future


def _with_our_patience(model: Any, seconds: float) -> tuple[Any, list[Any]]:
    """A copy whose OpenAI client neither retries by itself nor waits ten minutes, and the clients it will make."""
    clients: list[Any] = []
    if not _is_openai(model):
        return model, clients
    make_client = model.get_client

    def get_client(key: str | None, **how: Any) -> Any:
        client = make_client(key, **how).with_options(max_retries=0, timeout=seconds)
        clients.append(client)
        return client

    tamed = copy.copy(model)
    tamed.get_client = get_client
    return tamed, clients


def _is_openai(model: Any) -> bool:
    return any(c.__module__ == _OPENAI_ADAPTERS for c in type(model).__mro__) and hasattr(model, "get_client")


async def _close(clients: Sequence[Any]) -> None:
    for client in clients:
        with contextlib.suppress(Exception):  # a connection that fails to close is closed
            closing = client.close()
            if closing is not None:
                await closing


# ── whole answers only ──────────────────────────────────────────────────────────────────────────────────────────────


def _require_whole(answer: _Answer, model: LanguageModel) -> None:
    """`llm` returns what came before a connection broke, or before the length limit, as if it were the answer."""
    reason = finish_reason(answer.raw, always_given=_is_openai(answer.model) and not _only_completes(answer.model))
    if reason in TOO_LONG:
        raise AnswerCut(
            f"{model.name} reached its length limit before the end of its answer.",
            f"It stopped after {len(answer.text):,} characters ({reason}).",
            "A smaller task, or a model with a higher output limit, helps.",
        )
    if reason in DECLINED:
        raise ModelCallFailed(f"{model.name} declined to answer.", f"Its provider says: {reason}.")
    if reason == CUT:
        raise ModelCallFailed(
            f"The answer of {model.name} broke off.",
            f"The connection ended after {len(answer.text):,} characters without the provider's end mark.",
            retryable=True,
        )
    if not answer.text.strip():
        raise ModelCallFailed(f"{model.name} gave an empty answer.", retryable=True)


# ── which model, and can it be used ─────────────────────────────────────────────────────────────────────────────────

_SETTINGS = ("default_model.txt", "keys.json", "aliases.json", "extra-openai-models.yaml")
_BUILT_IN_DEFAULT = "llm's default; no --model, CAIRN_MODEL or LLM_MODEL set"
_PLUGINS = {"claude": "llm-anthropic", "gemini": "llm-gemini", "openrouter/": "llm-openrouter"}
_LOCAL_NAMES = ("llama", "mistral", "qwen", "gemma", "phi", "deepseek")


def open_model(name: str, *, key: str | None = None, retry: RetrySettings | None = None) -> LanguageModel:
    """The model of that id or alias, ready to be asked. No call is made, but its key is looked up.

    Raises ModelUnavailable for an unknown name, a missing key, or an `llm` that a plug-in or a file of its settings
    keeps from working.
    """
    model = _find(name)
    _require_key(model, key)
    if retry is None:
        return LanguageModel(model, key)
    strategy = RetryStrategy(retry.attempts, retry.first_delay, max_delay=retry.max_delay)
    return LanguageModel(model, key, strategy, retry.call_seconds)


def exact_name(name: str) -> str:
    """The id behind an id or alias; no key is looked for. Raises ModelUnavailable for an unknown name."""
    return str(_find(name).model_id)


def choose_model(wanted: str | None, environ: Mapping[str, str]) -> str | None:
    """`wanted` (from a flag or the settings), else LLM_MODEL, else llm's default if its key is there, else None.

    What was asked for by name is returned unchecked: `open_model` says what is wrong with it.
    """
    named = wanted or environ.get("LLM_MODEL")
    if named or _is_fresh(environ):
        return named or None
    try:
        return open_model(_default_name()).name
    except ModelUnavailable:
        return None


def keys_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `llm` keeps its keys; it need not exist."""
    return _settings_folder(environ) / "keys.json"


def settings_mark(environ: Mapping[str, str] = os.environ) -> tuple[object, ...]:
    """Another value once `llm` may find other keys or models here, for somebody who has a question unanswered."""
    return tuple(_file_mark(_settings_folder(environ) / name) for name in _SETTINGS)


def _file_mark(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _is_fresh(environ: Mapping[str, str]) -> bool:
    """True where `llm` was never set up: its own default then has no key. Spares a second of imports."""
    try:
        folder = _settings_folder(environ)
        set_up = folder.exists() and any((folder / name).exists() for name in _SETTINGS)
    except OSError:
        return False
    return not set_up and not environ.get("OPENAI_API_KEY")


def _default_name() -> str:
    with _BlamingTheCulprit():
        import llm

        return str(llm.get_default_model() or llm.DEFAULT_MODEL)  # type: ignore[no-untyped-call]


def _find(name: str) -> Any:
    """The model registered last under that id or alias, as `llm` resolves it; the async one where there is one."""
    registered = _registered()
    known: dict[str, Any] = {}
    for entry in registered:
        model = entry.async_model or entry.model
        if model is not None:
            known.update(dict.fromkeys([*entry.aliases, model.model_id], model))
    if name in known:
        return known[name]
    raise _unknown(name, list(known))


def _registered() -> list[Any]:
    with _BlamingTheCulprit():
        import llm

        return llm.get_models_with_aliases()


def _unknown(name: str, known: Sequence[str]) -> ModelUnavailable:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    fix = [f"Did you mean: {', '.join(near)}"] if near else []
    plugin = next((dist for start, dist in _PLUGINS.items() if name.lower().startswith(start)), None)
    if plugin is None and name.lower().startswith(_LOCAL_NAMES):
        plugin = "llm-ollama"
    if plugin is not None and not _is_installed(plugin):
        fix.append(f"pip install {plugin}   brings models of that name.")
    fix.append("llm models   lists all there are.")
    return ModelUnavailable(
        f"There is no model '{name}'.", f"llm knows {len(known)} names; this is none of them.", tuple(fix)
    )


def _is_installed(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import distribution as find

    try:
        find(distribution)
    except PackageNotFoundError:
        return False
    return True


def _require_key(model: Any, key: str | None) -> None:
    with _BlamingTheCulprit():
        import llm

        try:
            model.get_key(key)
        except llm.NeedsKeyException:
            raise _provider(model).missing_key from None


class _BlamingTheCulprit:
    """Turns whatever setting up `llm` raises into ModelUnavailable that names the file or the plug-in at fault.

    A plug-in that cannot be imported stops `llm` only once and is silently missing afterwards, so the first such
    error is kept and raised again.
    """

    _first: ModelUnavailable | None = None

    def __enter__(self) -> None:
        if _BlamingTheCulprit._first is not None:
            raise _BlamingTheCulprit._first

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, CairnError):
            return
        problem = blame(error, _settings_folder(os.environ))
        if isinstance(error, ImportError):
            _BlamingTheCulprit._first = problem
        raise problem from error


def _settings_folder(environ: Mapping[str, str]) -> Path:
    """Where `llm` keeps its settings, without making the folder as `llm` would."""
    import click  # llm's own dependency, which names its folder

    return Path(environ.get("LLM_USER_PATH") or click.get_app_dir("io.datasette.llm"))


# ── what there is, for people ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The model a task would get, and why it would or would not work. `origin` says who chose it.

    `shadowed` is true when a stored key hides a different one in the environment.
    """

    name: str
    origin: str
    key_name: str = ""
    key_variable: str = ""
    stored: bool = False
    in_environment: bool = False
    shadowed: bool = False
    problem: ModelUnavailable | None = None

    @property
    def usable(self) -> bool:
        """True when a call could be made."""
        return self.problem is None

    @property
    def key_source(self) -> str:
        """Where the key comes from, in words; "" when there is none."""
        if not self.key_name:
            return "" if self.problem else "none needed"
        if self.stored:
            return f'llm\'s stored "{self.key_name}" key'
        return self.key_variable if self.in_environment else ""


def model_status(wanted: str | None = None, environ: Mapping[str, str] = os.environ) -> ModelStatus:
    """Everything `cairn doctor` says of models; raises nothing and calls no model."""
    origin = "--model, CAIRN_MODEL or the settings" if wanted else "LLM_MODEL"
    name = wanted or environ.get("LLM_MODEL") or ""
    try:
        if not name:
            name, origin = _default_name(), _BUILT_IN_DEFAULT
        model = _find(name)
        status = _with_key(ModelStatus(str(model.model_id), origin), model, environ)
    except ModelUnavailable as problem:
        return ModelStatus(name or "llm's default", origin, problem=problem)
    return status


def _with_key(status: ModelStatus, model: Any, environ: Mapping[str, str]) -> ModelStatus:
    if not model.needs_key:
        return status
    with _BlamingTheCulprit():
        import llm

        stored = llm.load_keys().get(model.needs_key)  # type: ignore[no-untyped-call]
    exported = environ.get(model.key_env_var or "")
    return replace(
        status,
        key_name=model.needs_key,
        key_variable=model.key_env_var or "",
        stored=bool(stored),
        in_environment=bool(exported),
        shadowed=bool(stored and exported and stored != exported),
        problem=None if stored or exported or model.key else _provider(model).missing_key,
    )


def describe_missing(
    request: str,
    recipe_names: Sequence[str],
    *,
    wanted: str | None = None,
    drafts_would_do: bool = False,
    workers: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> CairnError:
    """The error for a task that neither a model nor a recipe can do, with all ways out.

    `drafts_would_do` adds the small local model, for a task that only lacks someone to write sentences;
    `workers` that other machines may have the key that is not here.
    """
    status = model_status(wanted, environ)
    why = [f"Asked for: {status.name} ({status.origin})."]
    if status.problem is not None and status.key_name:
        why.append(f"It needs a key: {status.problem.why}")
    elif status.problem is not None:
        why.append(f"{status.problem.what} {status.problem.why}".strip())
    why.append(_recipes_do_not(request, recipe_names))
    store = f"llm keys set {status.key_name or 'openai'}"
    ways = [
        f"{store:<51}  then run this again",
        'pip install llm-anthropic && llm keys set anthropic  then cairn run -m MODEL "..."   (llm models lists them)',
        "a local server: extra-openai-models.yaml, or pip install llm-ollama",
    ]
    if workers:
        ways.insert(0, f"{'cairn add -m MODEL ...':<51}  names a model whose key your workers have")
    if drafts_would_do:
        ways.append("pip install 'cairn[local]' && cairn local install    (94 MB; drafts: about half need rewriting)")
    fix = ("Do one of:", *(f"  {way}" for way in ways), "Nothing was changed in this repository.")
    return ModelUnavailable("no language model can do this task.", "\n".join(why), fix)


def _recipes_do_not(request: str, names: Sequence[str], *, shown: int = 6) -> str:
    sentence = " ".join(request.split())
    sentence = sentence if len(sentence) <= 60 else sentence[:59] + "…"  # noqa: PLR2004 - one line on a screen
    listed = ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
    return f'The built-in recipes (no AI) do not cover: "{sentence}". They cover: {listed} (cairn recipes)'
