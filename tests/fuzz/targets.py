"""What a fuzzer drives with bytes: a program, a text for the checks, or one call; each must leave the host as it was."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cairn.executor import AgentExecutor
from cairn.function_signatures import declared, signature
from cairn.plain_values import unfit_argument, unfit_result
from cairn.program import CodeFailed, Finished, LimitReached
from cairn.program_errors import FOR_PROGRAMS
from cairn.program_lint import lint, refusal
from cairn.task_functions import TaskFunctions
from tests.hostile.attacks import SECRET, Room, prints, workers
from tests.hostile.programs import PATHS, Writer

T = TypeVar("T")

LIMITS = prints("", "").with_limits(seconds=0.5, calls=120).limits
CHECK_SECONDS = 5.0  # a text of 4 KB takes milliseconds


class FromBytes:
    """Choices read from bytes; when they are used up, the first and plainest of everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def pick(self, options: Sequence[T]) -> T:
        return options[self.byte() % len(options)]

    def text(self) -> str:
        length = self.byte() % 16
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken.decode("utf-8", "ignore")

    def rest(self) -> bytes:
        return self._data[self._at :]

    def value(self, depth: int = 0) -> object:
        """Any value that can cross."""
        made: tuple[Callable[[], object], ...] = (
            lambda: self.pick(PATHS),
            self.text,
            lambda: self.byte() - 128,
            lambda: self.pick((None, True, 0.5, 10**400, b"x", "x" * 20_000, "<coroutine object f>", "{a,b}" * 60)),
            lambda: [self.value(depth + 1) for _ in range(self.byte() % 4)] if depth < 3 else [],
            lambda: {self.text(): self.value(depth + 1) for _ in range(self.byte() % 4)} if depth < 3 else {},
        )
        return self.pick(made)()


def one_input(room: Room, data: bytes) -> None:
    """Raises AssertionError, or whatever the host would not have survived."""
    choices = FromBytes(data)
    before = room.snapshot()
    choices.pick((_program, _checks, _call))(room, choices)
    assert room.snapshot() == before
    assert workers() == set()


def _program(room: Room, choices: FromBytes) -> None:
    async def run() -> None:
        async with AgentExecutor(LIMITS).session(room.functions(LIMITS)) as session:
            result = await session.execute(Writer(choices).program())
            assert isinstance(result, Finished | CodeFailed | LimitReached), result
            assert SECRET not in repr(result)

    asyncio.run(run())


def _checks(room: Room, choices: FromBytes) -> None:
    text = choices.rest().decode("utf-8", "replace")
    began = time.monotonic()
    refusal(text)
    lint(text, frozenset(declared(TaskFunctions)))
    assert time.monotonic() - began < CHECK_SECONDS


def _call(room: Room, choices: FromBytes) -> None:
    name, function = choices.pick(tuple(declared(TaskFunctions).items()))
    count = len(signature(function).parameters) + choices.pick((0, 0, 0, 1, -1))
    args = tuple(choices.value() for _ in range(count))
    if unfit_argument(args):
        return

    async def call() -> object:
        value = room.functions().call(name, args, {})
        return await value if inspect.isawaitable(value) else value

    try:
        value = asyncio.run(call())
    except FOR_PROGRAMS as error:
        value = str(error).encode(errors="replace").decode()
    assert (unfit_result(value), SECRET in repr(value)) == ("", False)
