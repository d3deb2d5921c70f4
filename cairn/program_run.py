"""One program's run, driven from call to call by a thread; no thread is held while a call is awaited.

A call whose answer must be awaited goes to the event loop. If the answer does not come within moments the thread's turn
ends, and a later turn goes on with it. In between the run may be moved to another worker, even to another process, by
its dump.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cairn import sandbox_failure
from cairn.plain_values import unfit_argument, unfit_result
from cairn.program import (
    Cancelled,
    CodeFailed,
    Crashed,
    ExecutionResult,
    Finished,
    LimitReached,
    Limits,
    ProgramStopped,
    Run,
    Unanswered,
)
from cairn.program_check import Conversation
from cairn.program_errors import FOR_PROGRAMS, crossing
from cairn.program_hints import hint_for
from cairn.program_output import BoundedOutput
from cairn.sandbox_failure import GONE, Evidence
from cairn.sandbox_files import ROOT, NotHandled, SandboxFiles
from cairn.sandbox_worker import SandboxWorker, suspensions_allowed
from cairn.session_dump import KeptRun

if TYPE_CHECKING:
    from pydantic_monty import FunctionSnapshot, FutureSnapshot, MontyComplete, NameLookupSnapshot

    from cairn.external_functions import ExternalFunctions

    Snapshot = FunctionSnapshot | NameLookupSnapshot | FutureSnapshot | MontyComplete
    Resume = Callable[[], Snapshot]  # lets the sandbox run to its next call or its end

MOMENT_SECONDS = 0.01  # an answer from the journal comes sooner, one of a model or a person does not
FLOOD_CHARS = 5_000_000  # a program that prints more than this is stopped
VALUE_CHARS = 2_000


class Allowance:
    """What is left of a task's calls and of its time in the sandbox; shared by all programs of one session."""

    def __init__(self, limits: Limits) -> None:
        self._calls = limits.calls
        self._seconds = limits.total_seconds
        self._suspensions = suspensions_allowed(limits)

    @property
    def calls_left(self) -> int:
        """How many calls may still be made."""
        return self._calls

    @property
    def suspensions_left(self) -> int:
        """How often the sandbox may still wait for the host."""
        return self._suspensions

    @property
    def seconds_left(self) -> float:
        """How long programs may still compute."""
        return self._seconds

    def restore(self, calls_left: int, suspensions_left: int, seconds_left: float) -> None:
        """Goes on with what was left elsewhere."""
        self._calls, self._suspensions, self._seconds = calls_left, suspensions_left, seconds_left

    def take_seconds(self, seconds: float) -> bool:
        """False when the programs have computed for longer than they may."""
        self._seconds -= seconds
        return self._seconds > 0

    def take_call(self) -> bool:
        """False when the task's calls are used up."""
        self._calls -= 1
        return self._calls >= 0

    def take_suspension(self) -> bool:
        """False when the programs made the sandbox wait for the host more often than any honest one does."""
        self._suspensions -= 1
        return self._suspensions >= 0


class AwaitedCall:
    """A call that the event loop awaits. It is begun by the thread that makes it, and ended by whoever waits longer."""

    def __init__(self, name: str, awaitable: Awaitable[object], loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self._awaitable = awaitable
        self._task: asyncio.Future[object] | None = None
        self._done = threading.Event()
        try:
            loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # the loop is closed, and with it whoever wanted to know
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._awaitable)
        self._task.add_done_callback(lambda _task: self._done.set())

    def came_soon(self) -> bool:
        """Waits in the thread, for moments. True when `result` has it."""
        return self._done.wait(MOMENT_SECONDS)

    @property
    def task(self) -> asyncio.Future[object]:
        """For the event loop, which has begun it before it hears of it."""
        if self._task is None:
            raise RuntimeError("the call has not begun")
        return self._task

    def result(self) -> object:
        """What it came to, or raises."""
        return self.task.result()


class _Ended(Exception):
    """The host ends the program here; `result` makes the outcome from its figures."""

    def __init__(self, result: Callable[[Run], ExecutionResult]) -> None:
        super().__init__()
        self.result = result


class _Fault(Exception):
    """A fault of the host's own, which no program may catch and no sandbox error may hide."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ProgramRun:
    """Drives one program from call to call. `stop` and `figures` may be called from any thread, the rest from one."""

    def __init__(
        self,
        limits: Limits,
        allowance: Allowance,
        worker: SandboxWorker | None,
        functions: ExternalFunctions,
        conversation: Conversation,
        step: int,
    ) -> None:
        self._limits, self._allowance = limits, allowance
        self._functions, self._conversation, self._step = functions, conversation, step
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._output = BoundedOutput(limits.output_chars)
        self._files = SandboxFiles(functions.files, file_bytes=limits.file_bytes)
        self._started = time.monotonic()
        self._calls = 0
        self._sandbox_seconds = 0.0
        self._stretch_began: float | None = None
        self._memory_before = worker.memory_peak() if worker else 0
        self._stopping = threading.Lock()
        self._stopped: Callable[[Run], ExecutionResult] | None = None
        self._waiting: tuple[str, FunctionSnapshot] | None = None

    def figures(self) -> Run:
        """What every outcome has."""
        seconds = time.monotonic() - self._started
        return Run(self._output.text, self._output.dropped, seconds, self._calls)

    def stop(self, result: Callable[[Run], ExecutionResult]) -> None:
        """Ends the program from outside, in the middle of a turn: kills its worker. The first one counts."""
        with self._stopping:
            self._stopped = self._stopped or result
        if self._worker is not None:
            self._worker.kill()

    def total_seconds_left(self) -> float:
        """How long this program may still compute before all of the task's programs have used up their time."""
        began = self._stretch_began
        return self._allowance.seconds_left - (0.0 if began is None else time.monotonic() - began)

    def stop_at_total_seconds(self) -> None:
        """Ends the program: all of the task's programs together have used up their time."""
        self.stop(self._total_seconds)

    def _total_seconds(self, run: Run) -> LimitReached:
        allowed = self._limits.total_seconds
        detail = f"the task's programs ran for more than {allowed:g} s in the sandbox. {GONE}"
        return LimitReached(run, "total_seconds", allowed, detail)

    def lost(self, cause: Exception, *, repeatable: bool = True) -> ExecutionResult:
        """What it means that the sandbox's state is gone while the program waited."""
        from pydantic_monty import MontyError

        if isinstance(cause, MontyError):
            result = self._failed(cause)
        else:
            detail = f"the waiting program could not be taken up again: {cause}. {GONE}"
            result = Crashed(self.figures(), detail)
        return result if repeatable or not isinstance(result, Crashed) else replace(result, repeatable=False)

    # ── turns: each blocks until the program has ended or waits ──

    def begin(self, code: str) -> ExecutionResult | AwaitedCall:
        """The first turn. Raises what is not the program's doing, as `go_on` does."""
        self._conversation.begin(code, self._step)
        session = self._here().session
        options: Any = {"skip_type_check": True, "print_callback": self._print, "cwd": ROOT}
        return self._turn(lambda: lambda: session.feed_start(code, **options))

    def go_on(self, answer: Callable[[], object]) -> ExecutionResult | AwaitedCall:
        """The next turn, with what the awaited call returns or raises."""
        name, snapshot = self._waiting_for()
        self._waiting = None
        return self._turn(lambda: self._settled(snapshot, lambda: self._fit(name, answer())))

    # ── from one worker to another, while a call is awaited ──

    def image(self) -> bytes:
        """The sandbox's state, as Monty dumps it."""
        return self._waiting_for()[1].dump()

    def kept(self) -> KeptRun:
        """What Cairn itself must know to go on."""
        seconds = time.monotonic() - self._started
        output, files = self._output.kept(), self._files.gathered()
        name = self._waiting_for()[0]
        return KeptRun(self._step, name, self._calls, seconds, self._sandbox_seconds, output, files)

    def restore(self, kept: KeptRun) -> None:
        """A run that has not begun goes on from there, once it has been moved to a worker."""
        self._started = time.monotonic() - kept.seconds
        self._calls, self._sandbox_seconds = kept.calls, kept.sandbox_seconds
        self._output.restore(kept.output)
        self._files.restore(kept.files)

    def move(self, worker: SandboxWorker, image: bytes) -> None:
        """Goes on in another worker, which nothing was fed yet. Raises what Monty raises for an image it refuses."""
        from pydantic_monty import FunctionSnapshot

        memory_before = worker.memory_peak()
        snapshot = worker.session.load_snapshot(image, print_callback=self._print)
        if not isinstance(snapshot, FunctionSnapshot):
            raise TypeError("the dump's program waits for no call")
        self._worker, self._memory_before = worker, memory_before
        self._waiting = snapshot.function_name, snapshot

    def _waiting_for(self) -> tuple[str, FunctionSnapshot]:
        if self._waiting is None:
            raise RuntimeError("the program waits for nothing")
        return self._waiting

    def _here(self) -> SandboxWorker:
        if self._worker is None:
            raise RuntimeError("the program has no worker")
        return self._worker

    def _turn(self, prepare: Callable[[], Resume | AwaitedCall]) -> ExecutionResult | AwaitedCall:
        try:
            result = self._result(prepare)
        except _Fault as fault:
            raise fault.error from None
        if self._functions.submission is None and isinstance(result, Finished | CodeFailed):
            self._conversation.remember(self._here())
        return result

    def _result(self, prepare: Callable[[], Resume | AwaitedCall]) -> ExecutionResult | AwaitedCall:
        try:
            value = self._to_the_end(prepare())
            if isinstance(value, AwaitedCall):
                return value
            self._store_files()
        except _Ended as ended:
            return (self._stopped or ended.result)(self.figures())
        except asyncio.CancelledError:
            return (self._stopped or _cancelled)(self.figures())
        except _Fault:
            raise
        except Exception as error:  # noqa: BLE001 - the sandbox raises its own errors and, misused, builtin ones
            return self._failed(error)
        return Finished(self.figures(), value=value)

    def _failed(self, error: Exception) -> ExecutionResult:
        from pydantic_monty import MontyError

        if self._stopped is not None:
            return self._stopped(self.figures())
        growth = self._worker.memory_peak() - self._memory_before if self._worker else 0
        names, seconds = self._functions.names, self._sandbox_seconds
        evidence = Evidence(self._limits, seconds, growth, self._step, self._conversation.sources, names)
        result = sandbox_failure.outcome(error, self.figures(), evidence)
        if not isinstance(error, MontyError):  # raised on our side of the pipe: the sandbox still waits for an answer
            self._here().kill()
        return self._with_files_stored(result) if isinstance(result, CodeFailed) else result

    def _with_files_stored(self, failed: CodeFailed) -> ExecutionResult:
        """The program's own error tells more than a file that could not be written after it, but less than a limit
        or a question.
        """
        try:
            self._store_files()
        except _Ended as ended:
            after = ended.result(self.figures())
            return after if isinstance(after, LimitReached | Unanswered) else failed
        return failed

    def _store_files(self) -> None:
        """What was written through open() is stored, also when the program failed, as closing the files would."""
        try:
            self._files.store()
        except FOR_PROGRAMS as error:
            kind, message = crossing(error)  # there is no program any more that could catch it
            raise _Ended(lambda run: CodeFailed(run, kind, message, hint=hint_for(message))) from error
        except ProgramStopped as stop:
            raise _Ended(stop.reached) from stop
        except Exception as error:
            raise _Fault(error) from error

    def _to_the_end(self, step: Resume | AwaitedCall) -> str | AwaitedCall:
        from pydantic_monty import MontyComplete

        while not isinstance(step, AwaitedCall):
            snapshot = self._timed(step)
            if isinstance(snapshot, MontyComplete):
                return _shown_value(snapshot)
            step = self._next(snapshot)
        return step

    def _next(self, snapshot: FunctionSnapshot | NameLookupSnapshot | FutureSnapshot) -> Resume | AwaitedCall:
        from pydantic_monty import FunctionSnapshot, NameLookupSnapshot

        if not self._allowance.take_suspension():
            raise _Ended(lambda run: self._too_many_calls(run, "it made the sandbox wait for the host too often"))
        if isinstance(snapshot, FunctionSnapshot):
            return self._answer(snapshot)
        return self._look_up(snapshot) if isinstance(snapshot, NameLookupSnapshot) else _refuse_futures(snapshot)

    def _timed(self, resume: Resume) -> Snapshot:
        """One stretch in the sandbox, on the host's clock."""
        with self._stopping:
            if self._stopped is not None:
                raise _Ended(self._stopped)
        self._stretch_began = began = time.monotonic()
        try:
            snapshot = resume()
        finally:
            stretch = time.monotonic() - began
            self._stretch_began = None
            self._sandbox_seconds += stretch
            may_go_on = self._allowance.take_seconds(stretch)
        if not may_go_on:
            raise _Ended(self._total_seconds)
        if self._sandbox_seconds > self._limits.seconds + 1.0:  # the sandbox's own clock should have ended it
            raise _Ended(lambda run: sandbox_failure.time_limit(run, self._limits))
        return snapshot

    def _print(self, _stream: str, text: str) -> None:
        """Called by the sandbox; an error here would end the session at its next feed, so there is none."""
        self._output.add(text)
        if self._output.total > FLOOD_CHARS:
            self.stop(_flooded)

    # ── answering ──

    def _look_up(self, snapshot: NameLookupSnapshot) -> Resume:
        name = snapshot.variable_name
        if name not in self._functions.names:
            return snapshot.resume  # a NameError in the program

        def function() -> None:
            """Stands for a host function used as a value; a call of it arrives under its name."""

        function.__name__ = name
        return lambda: snapshot.resume(value=function)

    def _answer(self, snapshot: FunctionSnapshot) -> Resume | AwaitedCall:
        name, is_given = snapshot.function_name, snapshot.function_name in self._functions.names
        if name == "import":
            return _raising(snapshot, "ModuleNotFoundError", f"No module named '{snapshot.args[0]}'")
        if not is_given and not snapshot.is_os_function:
            return _raising(snapshot, "NameError", f"name '{name}' is not defined")
        call = self._function_call if is_given else self._file_call
        return self._settled(snapshot, lambda: call(name, snapshot.args, snapshot.kwargs))

    def _settled(self, snapshot: FunctionSnapshot, compute: Callable[[], object]) -> Resume | AwaitedCall:
        """How the sandbox goes on after a call: with its value, with its error, or later."""
        try:
            value = compute()
        except NotHandled:
            return snapshot.resume_not_handled
        except FOR_PROGRAMS as error:
            return _raising(snapshot, *crossing(error))
        except ProgramStopped as stop:
            raise _Ended(stop.reached) from stop
        except (_Ended, asyncio.CancelledError):
            raise
        except Exception as error:
            raise _Fault(error) from error
        if isinstance(value, AwaitedCall):
            self._waiting = value.name, snapshot
            return value
        return lambda: snapshot.resume({"return_value": value})

    def _file_call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        if not name.startswith("Path.append_"):  # a piece of a file that is open; the whole is a call
            self._count()
        return self._files.answer(name, arguments, keywords)

    def _function_call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        self._count()
        if unfit := unfit_argument((arguments, keywords)):
            raise TypeError(f"{name}(): {unfit}")
        self._files.before_call(name, (*arguments, *keywords.values()))
        value = self._functions.call(name, arguments, keywords)
        if not inspect.isawaitable(value):
            return self._fit(name, value)
        call = AwaitedCall(name, value, self._loop)
        return self._fit(name, call.result()) if call.came_soon() else call

    def _fit(self, name: str, value: object) -> object:
        """A result as it may be handed over. A submission ends the program."""
        submission = self._functions.submission
        if submission is not None:
            raise _Ended(lambda run: Finished(run, submission))
        if unfit := unfit_result(value):
            raise ValueError(f"{name}() has a result that cannot be handed over: {unfit}")
        return value

    def _count(self) -> None:
        if not self._allowance.take_call():
            raise _Ended(lambda run: self._too_many_calls(run, "all of the task's external calls are used up"))
        self._calls += 1

    def _too_many_calls(self, run: Run, why: str) -> LimitReached:
        return LimitReached(run, "calls", self._limits.calls, f"{why}. {GONE}")


def _cancelled(run: Run) -> Cancelled:
    return Cancelled(run, "an external function was cancelled")


def _flooded(run: Run) -> LimitReached:
    detail = f"the program printed more than {FLOOD_CHARS:,} characters. {GONE}"
    return LimitReached(run, "output_chars", FLOOD_CHARS, detail)


def _refuse_futures(snapshot: FutureSnapshot) -> Resume:
    """No answer of ours is a future, so none can be awaited; should one be, it fails instead of hanging."""
    failure: Mapping[str, str] = {"exc_type": "RuntimeError", "message": "nothing is pending"}
    return lambda: snapshot.resume(dict.fromkeys(snapshot.pending_call_ids, failure))  # type: ignore[arg-type]


def _raising(snapshot: FunctionSnapshot, kind: str, message: str) -> Resume:
    return lambda: snapshot.resume({"exc_type": kind, "message": message})  # type: ignore[typeddict-item]


def _shown_value(complete: MontyComplete) -> str:
    """The repr of the last expression, shortened; "" for none, and for what has no plain value."""
    import reprlib

    try:
        value = complete.output
    except Exception as error:  # noqa: BLE001 - a value only the sandbox can hold
        return f"<{type(error).__name__}: {error}>"[:VALUE_CHARS]
    if value is None:
        return ""
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = VALUE_CHARS
    shortener.maxlist = shortener.maxtuple = shortener.maxdict = shortener.maxset = 50
    return shortener.repr(value)[:VALUE_CHARS]
