"""One program's run, driven from call to call by a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cairn import sandbox_failure
from cairn.plain_values import unfit_argument, unfit_result
from cairn.program import Cancelled, CodeFailed, ExecutionResult, Finished, LimitReached, Limits, Run
from cairn.program_check import Conversation
from cairn.program_errors import FOR_PROGRAMS, crossing
from cairn.program_hints import hint_for
from cairn.program_output import BoundedOutput
from cairn.sandbox_failure import GONE, Evidence
from cairn.sandbox_files import ROOT, NotHandled, SandboxFiles
from cairn.sandbox_worker import SandboxWorker, suspensions_allowed

if TYPE_CHECKING:
    from pydantic_monty import FunctionSnapshot, FutureSnapshot, MontyComplete, NameLookupSnapshot

    from cairn.external_functions import ExternalFunctions

    Snapshot = FunctionSnapshot | NameLookupSnapshot | FutureSnapshot | MontyComplete

FLOOD_CHARS = 5_000_000  # a program that prints more than this is stopped
VALUE_CHARS = 2_000


class Allowance:
    """What is left of a task's calls; shared by all programs of one session."""

    def __init__(self, limits: Limits) -> None:
        self._calls = limits.calls
        self._suspensions = suspensions_allowed(limits)

    def take_call(self) -> bool:
        """False when the task's calls are used up."""
        self._calls -= 1
        return self._calls >= 0

    def take_suspension(self) -> bool:
        """False when the programs made the sandbox wait for the host more often than any honest one does."""
        self._suspensions -= 1
        return self._suspensions >= 0


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
    """Drives one program from call to call. Only `stop` and `figures` may be called from another thread."""

    def __init__(
        self,
        limits: Limits,
        allowance: Allowance,
        worker: SandboxWorker,
        functions: ExternalFunctions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limits, self._allowance = limits, allowance
        self._worker, self._functions, self._loop = worker, functions, loop
        self._output = BoundedOutput(limits.output_chars)
        self._files = SandboxFiles(functions.files, file_bytes=limits.file_bytes)
        self._started = time.monotonic()
        self._calls = 0
        self._sandbox_seconds = 0.0
        self._memory_before = worker.memory_peak()
        self._stopping = threading.Lock()
        self._stopped: Callable[[Run], ExecutionResult] | None = None
        self._waiting: concurrent.futures.Future[object] | None = None

    def figures(self) -> Run:
        """What every outcome has."""
        seconds = time.monotonic() - self._started
        return Run(self._output.text, self._output.dropped, seconds, self._calls)

    def stop(self, result: Callable[[Run], ExecutionResult]) -> None:
        """Ends the program from outside: kills its worker, cancels the call it waits for. The first one counts."""
        with self._stopping:
            self._stopped = self._stopped or result
            waiting = self._waiting
        self._worker.kill()
        if waiting is not None:
            waiting.cancel()

    def drive(self, code: str, conversation: Conversation, step: int) -> ExecutionResult:
        """Blocks until the program has ended, one way or another. Raises what is not the program's doing."""
        conversation.begin(code, step)
        try:
            result = self._result(code, conversation, step)
        except _Fault as fault:
            raise fault.error from None
        if self._functions.submission is None and isinstance(result, Finished | CodeFailed):
            conversation.remember(self._worker, code)
        return result

    def _result(self, code: str, conversation: Conversation, step: int) -> ExecutionResult:
        try:
            value = self._to_the_end(code)
            self._store_files()
        except _Ended as ended:
            return (self._stopped or ended.result)(self.figures())
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            return (self._stopped or _cancelled)(self.figures())
        except _Fault:
            raise
        except Exception as error:  # noqa: BLE001 - the sandbox raises its own errors and, misused, builtin ones
            return self._failed(error, conversation, step)
        return Finished(self.figures(), value=value)

    def _failed(self, error: Exception, conversation: Conversation, step: int) -> ExecutionResult:
        from pydantic_monty import MontyError

        if self._stopped is not None:
            return self._stopped(self.figures())
        growth = self._worker.memory_peak() - self._memory_before
        names, seconds = self._functions.names, self._sandbox_seconds
        evidence = Evidence(self._limits, seconds, growth, step, conversation.sources, names)
        result = sandbox_failure.outcome(error, self.figures(), evidence)
        if not isinstance(error, MontyError):  # raised on our side of the pipe: the sandbox still waits for an answer
            self._worker.kill()
        if isinstance(result, CodeFailed):
            with suppress(_Ended):  # the program's own error tells more than a file that could not be written after it
                self._store_files()
        return result

    def _store_files(self) -> None:
        """What was written through open() is stored, also when the program failed, as closing the files would."""
        try:
            self._files.store()
        except FOR_PROGRAMS as error:
            kind, message = crossing(error)  # there is no program any more that could catch it
            raise _Ended(lambda run: CodeFailed(run, kind, message, hint=hint_for(message))) from error
        except Exception as error:
            raise _Fault(error) from error

    def _to_the_end(self, code: str) -> str:
        from pydantic_monty import FunctionSnapshot, MontyComplete, NameLookupSnapshot

        session = self._worker.session
        snapshot = self._timed(
            lambda: session.feed_start(code, skip_type_check=True, print_callback=self._print, cwd=ROOT)
        )
        while not isinstance(snapshot, MontyComplete):
            if not self._allowance.take_suspension():
                raise _Ended(lambda run: self._too_many_calls(run, "it made the sandbox wait for the host too often"))
            if isinstance(snapshot, FunctionSnapshot):
                resume = self._answer(snapshot)
            elif isinstance(snapshot, NameLookupSnapshot):
                resume = self._look_up(snapshot)
            else:
                resume = _refuse_futures(snapshot)
            snapshot = self._timed(resume)
        return _shown_value(snapshot)

    def _timed(self, turn: Callable[[], Snapshot]) -> Snapshot:
        """One stretch in the sandbox, on the host's clock."""
        with self._stopping:
            if self._stopped is not None:
                raise _Ended(self._stopped)
        began = time.monotonic()
        try:
            snapshot = turn()
        finally:
            self._sandbox_seconds += time.monotonic() - began
        if self._sandbox_seconds > self._limits.seconds + 1.0:  # the sandbox's own clock should have ended it
            raise _Ended(lambda run: sandbox_failure.time_limit(run, self._limits))
        return snapshot

    def _print(self, _stream: str, text: str) -> None:
        """Called by the sandbox; an error here would end the session at its next feed, so there is none."""
        self._output.add(text)
        if self._output.total > FLOOD_CHARS:
            self.stop(_flooded)

    # ── answering ──

    def _look_up(self, snapshot: NameLookupSnapshot) -> Callable[[], Snapshot]:
        name = snapshot.variable_name
        if name not in self._functions.names:
            return snapshot.resume  # a NameError in the program

        def function() -> None:
            """Stands for a host function used as a value; a call of it arrives under its name."""

        function.__name__ = name
        return lambda: snapshot.resume(value=function)

    def _answer(self, snapshot: FunctionSnapshot) -> Callable[[], Snapshot]:
        name, is_given = snapshot.function_name, snapshot.function_name in self._functions.names
        if name == "import":
            return _raising(snapshot, "ModuleNotFoundError", f"No module named '{snapshot.args[0]}'")
        if not is_given and not snapshot.is_os_function:
            return _raising(snapshot, "NameError", f"name '{name}' is not defined")
        try:
            call = self._function_call if is_given else self._file_call
            value = call(name, snapshot.args, snapshot.kwargs)
        except NotHandled:
            return snapshot.resume_not_handled
        except FOR_PROGRAMS as error:
            return _raising(snapshot, *crossing(error))
        except (_Ended, asyncio.CancelledError, concurrent.futures.CancelledError):
            raise
        except Exception as error:
            raise _Fault(error) from error
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
        if inspect.isawaitable(value):
            value = self._awaited(value)
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

    def _awaited(self, value: Awaitable[object]) -> object:
        """The value, computed on the event loop while this thread waits; a stop cancels it."""

        async def wait() -> object:
            return await value

        with self._stopping:
            if self._stopped is not None:
                _close(value)
                raise _Ended(self._stopped)
            self._waiting = asyncio.run_coroutine_threadsafe(wait(), self._loop)
        try:
            return self._waiting.result()
        finally:
            self._waiting = None


def _close(value: Awaitable[object]) -> None:
    if inspect.iscoroutine(value):
        value.close()


def _cancelled(run: Run) -> Cancelled:
    return Cancelled(run, "an external function was cancelled")


def _flooded(run: Run) -> LimitReached:
    detail = f"the program printed more than {FLOOD_CHARS:,} characters. {GONE}"
    return LimitReached(run, "output_chars", FLOOD_CHARS, detail)


def _refuse_futures(snapshot: FutureSnapshot) -> Callable[[], Snapshot]:
    """No answer of ours is a future, so none can be awaited; should one be, it fails instead of hanging."""
    failure: Mapping[str, str] = {"exc_type": "RuntimeError", "message": "nothing is pending"}
    return lambda: snapshot.resume(dict.fromkeys(snapshot.pending_call_ids, failure))  # type: ignore[arg-type]


def _raising(snapshot: FunctionSnapshot, kind: str, message: str) -> Callable[[], Snapshot]:
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
