"""One program's run, driven from call to call by a thread of its own."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from cairn import sandbox_failure
from cairn.errors import CairnError
from cairn.plain_values import unfit_argument, unfit_result
from cairn.program import Cancelled, CodeFailed, ExecutionResult, Finished, LimitReached, Limits, Run, Submission
from cairn.program_check import Conversation
from cairn.program_hints import hint_for
from cairn.program_output import BoundedOutput
from cairn.sandbox_failure import GONE, Evidence
from cairn.sandbox_files import ROOT, FileOperations, NotHandled, SandboxFiles
from cairn.sandbox_worker import SandboxWorker, suspensions_allowed

if TYPE_CHECKING:
    from pydantic_monty import FunctionSnapshot, FutureSnapshot, MontyComplete, NameLookupSnapshot

    Snapshot = FunctionSnapshot | NameLookupSnapshot | FutureSnapshot | MontyComplete

FLOOD_CHARS = 5_000_000  # a program that prints more than this is stopped
MESSAGE_CHARS = 4_000  # of an error handed to a program
VALUE_CHARS = 2_000


class ProgramFunctions(Protocol):
    """What an executor needs of the functions a program may call; `external_functions` makes the real ones.

    `call` runs in the driving thread; what it returns may be awaitable, and is then awaited on the caller's event loop.
    Builtin exceptions reach the program; a CairnError stops it and is raised to the caller. `files` serves ordinary
    file code.
    """

    @property
    def stubs(self) -> str:
        """The functions' signatures for the type checker."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """The functions' names."""
        ...

    @property
    def submission(self) -> Submission | None:
        """What the program submitted; once it is set, the program is not resumed."""
        ...

    @property
    def files(self) -> FileOperations | None:
        """The journaled operations behind `open()` and `pathlib`; None refuses all files."""
        ...

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object | Awaitable[object]:
        """One call, checked, bounded and journaled."""
        ...


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


class ProgramRun:
    """Drives one program from call to call. Only `stop` and `figures` may be called from another thread."""

    def __init__(
        self,
        limits: Limits,
        allowance: Allowance,
        worker: SandboxWorker,
        functions: ProgramFunctions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limits, self._allowance = limits, allowance
        self._worker, self._functions, self._loop = worker, functions, loop
        self._output = BoundedOutput(limits.output_chars)
        self._files = SandboxFiles(functions.files, file_bytes=limits.file_bytes) if functions.files else None
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
        """Blocks until the program has ended, one way or another."""
        conversation.begin(code, step)
        try:
            value = self._to_the_end(code)
            self._store_files()
            result: ExecutionResult = Finished(self.figures(), value=value)
        except _Ended as ended:
            result = (self._stopped or ended.result)(self.figures())
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            result = (self._stopped or _cancelled)(self.figures())
        except CairnError:
            raise
        except Exception as error:  # noqa: BLE001 - the sandbox raises its own errors and, misused, builtin ones
            result = self._failed(error, conversation, step)
        if self._functions.submission is None and isinstance(result, Finished | CodeFailed):
            conversation.remember(self._worker, code)
        return result

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
            if self._files is not None:
                self._files.store()
        except CairnError:
            raise
        except Exception as error:
            kind, message = _crossing(error)
            raise _Ended(lambda run: CodeFailed(run, kind, message, hint=hint_for(message))) from error

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
        try:
            return self._answered(snapshot)
        except (_Ended, CairnError, asyncio.CancelledError, concurrent.futures.CancelledError):
            raise
        except NotHandled:
            return snapshot.resume_not_handled
        except Exception as error:  # noqa: BLE001 - whatever it is, the program can catch it
            kind, message = _crossing(error)
            return lambda: snapshot.resume({"exc_type": kind, "message": message})  # type: ignore[typeddict-item]

    def _answered(self, snapshot: FunctionSnapshot) -> Callable[[], Snapshot]:
        name = snapshot.function_name
        arguments, keywords = snapshot.args, snapshot.kwargs
        if snapshot.is_os_function:
            value = self._file_call(name, arguments, keywords)
        elif name in self._functions.names:
            value = self._function_call(name, arguments, keywords)
        else:
            raise NameError(f"name '{name}' is not defined")
        return lambda: snapshot.resume({"return_value": value})

    def _file_call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        if name == "import":
            raise ModuleNotFoundError(f"No module named '{arguments[0]}'")
        if self._files is None:
            raise NotHandled(name)
        if not name.startswith("Path.append_"):  # a piece of a file that is open; the whole is a call
            self._count()
        return self._files.answer(name, arguments, keywords)

    def _function_call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        self._count()
        if unfit := unfit_argument((arguments, keywords)):
            raise TypeError(f"{name}(): {unfit}")
        if self._files is not None:
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


_BUILTIN_ERRORS = (
    "FileNotFoundError FileExistsError IsADirectoryError NotADirectoryError PermissionError TimeoutError OSError "
    "UnicodeDecodeError UnicodeEncodeError ModuleNotFoundError ImportError KeyError IndexError LookupError "
    "NotImplementedError RecursionError RuntimeError NameError AttributeError TypeError ValueError MemoryError "
    "AssertionError ZeroDivisionError OverflowError ArithmeticError"
)
_CROSSING = tuple((name, getattr(builtins, name)) for name in _BUILTIN_ERRORS.split())


def _crossing(error: Exception) -> tuple[str, str]:
    """The name and message under which an error of the host reaches the program."""
    kind = next((name for name, each in _CROSSING if isinstance(error, each)), "")
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if not kind:
        kind, message = "RuntimeError", f"{type(error).__name__}: {message}"
    return kind, message[:MESSAGE_CHARS].encode(errors="replace").decode()


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
