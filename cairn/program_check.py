"""Checks programs in a worker without running them, and remembers what it was fed.

There is no call that only checks. So each program is fed behind a gate: a call before its first line that suspends.
Arrived there, it has been compiled and type-checked and nothing of it has run; then the gate raises, and the feed ends.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cairn.parsed_program import bound_names, parse
from cairn.program import Problem
from cairn.program_hints import hint_for
from cairn.program_rewrite import AT_HAND, Rewritten, shim, shim_class
from cairn.program_types import STUBS, UNKNOWN, type_problems
from cairn.sandbox_failure import Source
from cairn.sandbox_files import ROOT
from cairn.sandbox_worker import SandboxWorker
from cairn.session_dump import KeptSession, KeptSource


class Conversation:
    """One worker's programs so far: their sources for tracebacks, their names for the checker."""

    def __init__(self) -> None:
        # Nobody can guess it, so no program can define it and thereby run while it is only checked.
        self.gate = f"cairn_gate_{secrets.token_hex(8)}"
        self.checked = ""
        self.names: frozenset[str] = frozenset()
        self._texts: dict[str, KeptSource] = {}
        self._feeds = 0

    @classmethod
    def restored(cls, kept: KeptSession) -> Conversation:
        """The one that a dump was made of."""
        conversation = cls()
        conversation.gate, conversation.checked = kept.gate, kept.checked
        conversation.names = frozenset(kept.names)
        conversation._texts = {source.name: source for source in kept.sources}
        conversation._feeds = kept.feeds
        return conversation

    @property
    def is_new(self) -> bool:
        """True while no program has left anything that a check of the next one would know."""
        return not self.names and not self._texts

    @property
    def feeds(self) -> int:
        """The number that the sandbox gave the last program."""
        return self._feeds

    @property
    def texts(self) -> tuple[KeptSource, ...]:
        """Every program that ran, in order."""
        return tuple(self._texts.values())

    @property
    def sources(self) -> Mapping[str, Source]:
        """The same for tracebacks; parsed only now, since most programs never need one."""
        return {name: Source(text.step, parse(text.text)) for name, text in self._texts.items()}

    def stubs(self, functions: str) -> str:
        """What the worker's checker must know."""
        return f"{STUBS}\ndef {self.gate}() -> None: ...\n{functions}"

    def check(
        self, worker: SandboxWorker, said: Rewritten, functions: frozenset[str], *, known: bool = False
    ) -> tuple[Problem, ...]:
        """Compiles and type-checks behind a gate: a call that suspends before the first line, and is never answered.

        One that is `known` to pass is only compiled, so that the sandbox is afterwards as it is after any check.
        """
        from pydantic_monty import MontyCrashedError, MontyTypingError

        code = said.text
        try:
            self._supply(worker, said)
            report = self._gated(worker, code, skip_type_check=known)
        except MontyTypingError as error:
            problems = type_problems(error.display(), parse(code), functions, shift=1)
            if problems:
                return problems
            with suppress(MontyCrashedError):  # every finding may work: only the compiler has a say
                return self._gated(worker, code, skip_type_check=True)
            return UNCHECKABLE
        except MontyCrashedError:
            return UNCHECKABLE
        return report

    def _supply(self, worker: SandboxWorker, said: Rewritten) -> None:
        """Feeds what the program needs and the sandbox lacks, unless an earlier program's name stands there."""
        for name in said.shims:
            known = shim_class(name)
            if known not in self.names:
                worker.session.feed_run(shim(name), skip_type_check=True, print_callback=_nowhere)
                worker.session.feed_run(f"{known}: {UNKNOWN}", print_callback=_nowhere)
                self.names |= {known}
        missing = [name for name in said.unbound if name not in self.names]
        if missing:
            statements = "\n".join(AT_HAND[name] for name in missing)
            worker.session.feed_run(statements, print_callback=_nowhere)
            self.names |= set(missing)

    def _gated(self, worker: SandboxWorker, code: str, *, skip_type_check: bool) -> tuple[Problem, ...]:
        from pydantic_monty import FunctionSnapshot, MontyRuntimeError, MontySyntaxError

        text = f"{self.gate}()\n{code}"
        try:
            snapshot = worker.session.feed_start(
                text, skip_type_check=skip_type_check, print_callback=_nowhere, cwd=ROOT
            )
            if isinstance(snapshot, FunctionSnapshot) and snapshot.function_name == "import_stubs":
                snapshot = snapshot.resume_not_handled()  # the checker asks once for modules it does not know
        except (MontySyntaxError, MontyRuntimeError) as error:
            return _compile_problems(error)
        if not isinstance(snapshot, FunctionSnapshot) or snapshot.function_name != self.gate:
            worker.kill()
            return UNCHECKABLE
        self._feeds = int(re.sub(r"\D", "", snapshot.position.filename) or 0)
        with suppress(MontyRuntimeError):  # the way out: the gate itself raises, outside of anything that could catch
            snapshot.resume({"exc_type": "RuntimeError", "message": "only checked"})
        return ()

    def begin(self, code: str, step: int) -> None:
        """The program that was just checked is fed next."""
        self._feeds += 1
        self.checked = ""
        name = f"<python-input-{self._feeds}>"
        self._texts[name] = KeptSource(name, step, code)

    def remember(self, worker: SandboxWorker) -> None:
        """The checker learns the program's names, of any type: what it inferred refuses `count = 5` after `= 0`."""
        tree = parse(self._texts[f"<python-input-{self._feeds}>"].text)
        names = frozenset(bound_names(tree)) - self.names if tree else frozenset()
        if not names:
            return
        self.names |= names
        declarations = "\n".join(f"{name}: {UNKNOWN}" for name in sorted(names))
        with suppress(Exception):  # a heap too full for it fails the next program too, with a better message
            worker.session.feed_run(declarations, print_callback=_nowhere)


UNCHECKABLE = (
    Problem(0, 0, "the program could not be compiled in time", "write it in smaller, simpler parts, without exec."),
)


def _nowhere(_stream: str, _text: str) -> None:
    """Nothing is printed while checking."""


def _compile_problems(error: Any) -> tuple[Problem, ...]:
    frames = error.traceback()
    line, column = (max(frames[-1].line - 1, 0), frames[-1].column) if frames else (0, 0)
    message = error.display("msg")
    return (Problem(line, column, message.replace("The monty syntax parser", "The sandbox"), hint_for(message)),)
