"""Parses source text in a process of its own, so that no text costs the host more memory and time than it may.

A parser can need gigabytes for a page of brackets, and crash where there are none left; whoever wrote the page may have
meant just that. So the process has a limit of memory, no variables of ours, no folder, and is killed when it is late.
Small Python is parsed here: CPython's own parser costs it a known share.
"""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from cairn.comments import Comment, comments
from cairn.outline import NestedTooDeeply, OutlineItem, language_of, outline, parse_python

PYTHON_BYTES = 100_000  # of Python parsed by the host itself; at worst that takes 90 MB for half a second
MEMORY_BYTES = 1 << 30
KEPT_BYTES = 200_000_000  # a process that has grown by more is not kept for the next text
ANSWER_SECONDS = 5.0  # more than outline.PARSE_SECONDS, which the parser itself keeps where it can


class TooCostly(ValueError):
    """The text needs more memory or time than parsing may take; nobody knows whether it is sound."""


def outlined(path: str, data: bytes) -> list[OutlineItem]:
    """As `outline`, within bounds. Raises ValueError as that does, and TooCostly."""
    if _is_small_python(path, data):
        return outline(path, data)
    return [OutlineItem(**item) for item in _ask("outline", path, data)]


def commented(path: str, data: bytes) -> list[Comment]:
    """As `comments`, within bounds. Raises ValueError as that does, and TooCostly."""
    if _is_small_python(path, data):
        return comments(path, data)
    return [Comment(**item) for item in _ask("comments", path, data)]


def require_python(path: str, text: str) -> None:
    """As `parse_python`, within bounds. Raises ValueError as that does, and TooCostly."""
    data = text.encode()
    if len(data) <= PYTHON_BYTES:
        parse_python(path, text)
    else:
        _ask("parse", path, data)


def _is_small_python(path: str, data: bytes) -> bool:
    return language_of(path, data) == "python" and len(data) <= PYTHON_BYTES


# ── on this side of the pipe ────────────────────────────────────────────────────────────────────────────────────────

_turn = threading.Lock()
_running: list[subprocess.Popen[bytes]] = []  # one at most; started when it is needed first


def _ask(what: str, path: str, data: bytes) -> list[dict[str, Any]]:
    with _turn:
        process = _started()
        try:
            answer = _exchange(process, json.dumps([what, path, len(data)]).encode() + b"\n" + data)
        except (OSError, TooCostly):
            _end()
            raise _too_costly(path) from None
        if answer["grown"] > KEPT_BYTES:
            _end()
    if "error" in answer:
        raise _too_costly(path) if answer["costly"] else ValueError(answer["error"])
    found: list[dict[str, Any]] = answer["items"]
    return found


def _too_costly(path: str) -> TooCostly:
    return TooCostly(f"'{path}' takes too much memory or time to parse; leave it out")


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> dict[str, Any]:
    sender = threading.Thread(target=_send, args=(process, request), daemon=True)  # a full pipe must not hold us up
    sender.start()
    output = cast("IO[bytes]", process.stdout)
    ready = select.poll()  # select() itself takes no descriptor above 1,023
    ready.register(output, select.POLLIN)
    deadline, received = time.monotonic() + ANSWER_SECONDS, bytearray()
    while not received.endswith(b"\n"):
        if not ready.poll(max(deadline - time.monotonic(), 0.0) * 1000):
            raise TooCostly
        piece = output.read1(1 << 20)  # type: ignore[attr-defined]
        if not piece:
            raise TooCostly
        received += piece
    answer: dict[str, Any] = json.loads(received)
    return answer


def _send(process: subprocess.Popen[bytes], request: bytes) -> None:
    try:
        stdin = cast("IO[bytes]", process.stdin)
        stdin.write(request)
        stdin.flush()
    except (OSError, ValueError):  # it ended, or was ended: whoever waits for the answer notices
        return


def _started() -> subprocess.Popen[bytes]:
    if _running and _running[0].poll() is None:
        return _running[0]
    _end()
    if not _registered.is_set():
        _registered.set()
        atexit.register(_end)
    package = str(Path(__file__).parent.parent)
    # -I: neither the user's folder nor variables decide what it imports.
    # Before the packages, of which one may be another version of us; behind Python's own modules.
    place = "next((i for i, path in enumerate(sys.path) if path.endswith('-packages')), len(sys.path))"
    starting = f"import sys; sys.path.insert({place}, {package!r}); from cairn.parser_process import serve; serve()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", starting],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,  # Ctrl-C is for us; it ends with its input
    )
    _running.append(process)
    return process


_registered = threading.Event()


def _end() -> None:
    while _running:
        process = _running.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not sent yet has nobody to read it
                cast("IO[bytes]", pipe).close()


# ── on the other side ───────────────────────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Answers requests until the input ends: when the host closes it, or is no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    before = _peak_bytes()  # on Linux that of whoever started us, if it was larger
    while line := requests.readline():
        what, path, size = json.loads(line)
        data = requests.read(size)
        if len(data) < size:
            return
        _limit_what_is_used()
        answer = {**_answer(what, path, data), "grown": _peak_bytes() - before}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _answer(what: str, path: str, data: bytes) -> dict[str, object]:
    try:
        if what == "parse":
            parse_python(path, data.decode())
            return {"items": []}
        found: Sequence[Comment | OutlineItem] = comments(path, data) if what == "comments" else outline(path, data)
        return {"items": [asdict(item) for item in found]}
    except ValueError as error:  # so large a text is called nested too deeply when the memory is used up
        return {"error": str(error), "costly": isinstance(error, NestedTooDeeply)}
    except MemoryError:
        return {"error": "", "costly": True}


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _limit_what_is_used() -> None:
    """Of memory in all, and of the processor's time for one answer: nobody may be there any more to end us."""
    import resource

    with suppress(ValueError, OSError):  # a system that knows the limit and does not take it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + ANSWER_SECONDS) + 1, hard))
