"""The errors that a program may catch: how they reach it, how the journal keeps them, and how they are made again."""

from __future__ import annotations

import json

# What a program's call may raise, and catch; it is in the journal. All else is a fault of Cairn's and stops the task.
FOR_PROGRAMS = (OSError, ValueError, TypeError, RuntimeError)

MESSAGE_CHARS = 4_000  # of an error handed to a program
_DENIED = "denied"

_NARROWER = (
    *(FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError, TimeoutError),
    *(UnicodeDecodeError, UnicodeEncodeError, NotImplementedError, RecursionError),
)


class Denied(PermissionError):
    """What a person, a policy or the task's own bounds did not permit: nothing was done, and a replay does nothing."""


_KINDS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (*_NARROWER, *FOR_PROGRAMS)}


def crossing(error: BaseException) -> tuple[str, str]:
    """The builtin name and the message under which an error of the host reaches the program."""
    kind = next((name for name, kind in _KINDS.items() if isinstance(error, kind)), "RuntimeError")
    return kind, str(error)[:MESSAGE_CHARS].encode(errors="replace").decode()


def written(error: BaseException) -> str:
    """JSON from which `read` makes an error that a program cannot tell from the first one."""
    kind, message = crossing(error)
    return json.dumps([kind, message, _DENIED] if isinstance(error, Denied) else [kind, message])


def read(text: str) -> Exception:
    """The error that `written` was given, as far as a program sees it."""
    kind, message, *more = json.loads(text)
    return Denied(str(message)) if more == [_DENIED] else made(str(kind), str(message))


def made(kind: str, message: str) -> Exception:
    """An error of a builtin kind with just this message. RuntimeError for a kind that no program may catch."""
    base: type[Exception] = _KINDS.get(kind, RuntimeError)
    if issubclass(base, UnicodeError):  # these want the bytes and the place; only the message is known
        base = _with_message(base)
    return base(message)


def _with_message(base: type[Exception]) -> type[Exception]:
    def initialise(self: Exception, message: str) -> None:
        self.args = (message,)

    def text(self: Exception) -> str:
        return str(self.args[0])

    made_class: type[Exception] = type(base.__name__, (base,), {"__init__": initialise, "__str__": text})
    return made_class
