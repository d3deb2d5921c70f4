"""Programs made at random from a grammar of what models and attackers write; each choice is made by whoever asks.

So the same grammar serves Hypothesis, which shrinks what fails, and a fuzzer that is led by coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Choices(Protocol):
    """Where chance comes from."""

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        ...

    def text(self) -> str:
        """Any text that can stand in a program's source."""
        ...


PATHS = (
    *(
        "a.txt",
        "src/app.py",
        "src",
        "src/deep/b.py",
        "data.bin",
        "inside/app.py",
        "inside",
        ".",
        "",
        "b.txt",
        "d/e/f.txt",
    ),
    *("../outside/secret.txt", "/etc/passwd", "out/secret.txt", "out", "up", "round", "into-git/config", ".git/config"),
    *(
        ".GIT/x",
        ".cairn/cairn.db",
        "git~1/x",
        "a\0b",
        "x" * 300,
        "src/../a.txt",
        "/project/a.txt",
        "~/x",
        "a.txt/x",
        "e\u0301",
    ),
)
NUMBERS = (
    "0",
    "1",
    "-1",
    "2",
    "7",
    "10 ** 6",
    "-(10 ** 30)",
    "2 ** 70",
    "0.5",
    "float('nan')",
    "10 ** 400",
    "True",
    "None",
)
NAMES = ("x", "y", "z", "items", "text", "value", "f", "read_file", "open", "print", "e")
ERRORS = ("Exception", "OSError", "ValueError", "BaseException", "TypeError", "RuntimeError", "(OSError, ValueError)")
MODULES = ("os", "re", "json", "asyncio", "subprocess", "nothing", "itertools", "functools", "collections", "time")
DEPTH = 4
HEAD = "import os\nfrom pathlib import Path\nx, y, z, items, text, value, e = 1, [], {}, [], 'a', None, None\n"


class Writer:
    """Writes one program. Loops are bounded and depth is, so that most programs end by themselves."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices

    def program(self) -> str:
        """As it stands, where most do not get past the check; or hidden from it, each statement by itself."""
        count = self._choices.pick((1, 2, 3, 5, 8))
        statements = [self._statement(0, "") for _ in range(count)]
        if self._choices.pick((True, False, False, False)):
            return HEAD + "".join(statements)
        return HEAD + "".join(f"try:\n    exec({each!r})\nexcept BaseException:\n    pass\n" for each in statements)

    # ── statements ──

    def _block(self, depth: int, indent: str) -> str:
        inner = indent + "    "
        count = self._choices.pick((1, 1, 2, 3))
        return "".join(self._statement(depth + 1, inner) for _ in range(count))

    def _statement(self, depth: int, indent: str) -> str:
        kinds = [self._simple, self._simple, self._simple]
        if depth < DEPTH:
            kinds += [self._try, self._for, self._while, self._if, self._def, self._class, self._with, self._exec]
        return self._choices.pick(kinds)(depth, indent)

    def _simple(self, depth: int, indent: str) -> str:
        pick = self._choices.pick
        line = pick(
            (
                lambda: self._call(depth),
                lambda: self._call(depth),
                lambda: f"{pick(NAMES)} = {self._value(depth)}",
                lambda: f"{pick(NAMES)} = {self._call(depth)}",
                lambda: f"print({self._value(depth)})",
                lambda: (
                    f"raise {pick(('ValueError', 'OSError', 'KeyboardInterrupt', 'SystemExit', 'MemoryError'))}({self._text()})"
                ),
                lambda: f"import {pick(MODULES)}",
                lambda: f"assert {self._value(depth)}, {self._text()}",
                lambda: f"{pick(NAMES)}.append({self._value(depth)})",
                lambda: pick(
                    ("pass", "return", "break", "continue", "global x", "raise", "yield 1", "del x", "await x")
                ),
            )
        )()
        return f"{indent}{line}\n"

    def _try(self, depth: int, indent: str) -> str:
        handler = self._choices.pick(("except:", *(f"except {kind} as e:" for kind in ERRORS)))
        text = f"{indent}try:\n{self._block(depth, indent)}{indent}{handler}\n{self._block(depth, indent)}"
        if self._choices.pick((True, False)):
            text += f"{indent}finally:\n{self._block(depth, indent)}"
        return text

    def _for(self, depth: int, indent: str) -> str:
        over = self._choices.pick(
            ("range(3)", "range(40)", f"[{self._value(depth)}]", "list_dir()", "os.listdir('.')", "'abc'")
        )
        return f"{indent}for {self._choices.pick(NAMES)} in {over}:\n{self._block(depth, indent)}"

    def _while(self, depth: int, indent: str) -> str:
        return f"{indent}n{depth} = 0\n{indent}while n{depth} < 5:\n{indent}    n{depth} += 1\n{self._block(depth, indent)}"

    def _if(self, depth: int, indent: str) -> str:
        return (
            f"{indent}if {self._value(depth)}:\n{self._block(depth, indent)}{indent}else:\n{self._block(depth, indent)}"
        )

    def _def(self, depth: int, indent: str) -> str:
        name = self._choices.pick(("f", "g", "read_file", "print", "submit_result"))
        head = self._choices.pick(("def", "async def"))
        call = f"{indent}{name}({self._value(depth)})\n"
        return f"{indent}{head} {name}(x=None, *args, **kwargs):\n{self._block(depth, indent)}{call}"

    def _class(self, depth: int, indent: str) -> str:
        method = self._choices.pick(("__init__", "__repr__", "__eq__", "__iter__", "__call__", "__hash__", "go"))
        body = self._block(depth + 1, indent + "    ")
        return f"{indent}class A:\n{indent}    def {method}(self, *args):\n{body}{indent}x = A()\n{indent}print(x, x == 1)\n"

    def _with(self, depth: int, indent: str) -> str:
        mode = self._choices.pick(("r", "w", "a", "rb", "wb", "x", "r+"))
        use = self._choices.pick(("f.read()", "f.write('x')", f"f.write({self._value(depth)})", "list(f)", "f.seek(1)"))
        return f"{indent}with open({self._path()}, {mode!r}) as f:\n{indent}    {use}\n{self._block(depth, indent)}"

    def _exec(self, depth: int, indent: str) -> str:
        return f"{indent}exec({self._statement(depth + 1, '')!r})\n"

    # ── calls ──

    def _call(self, depth: int) -> str:
        pick, value = self._choices.pick, lambda: self._value(depth + 1)
        return pick(
            (
                lambda: f"read_file({self._path()})",
                lambda: f"read_file({self._path()}, {pick(NUMBERS)}, {pick(NUMBERS)})",
                lambda: f"write_file({self._path()}, {value()})",
                lambda: f"write_file({self._path()}, {self._text()})",
                lambda: f"edit_file({self._path()}, {self._text()}, {self._text()})",
                lambda: f"delete_file({self._path()})",
                lambda: f"move_file({self._path()}, {self._path()})",
                lambda: f"list_dir({self._path()}, {pick(('True', 'False', 'None'))})",
                lambda: f"file_exists({self._path()})",
                lambda: f"search_files({pick((self._path, self._text))()})",
                lambda: f"search_content({self._text()}, {self._path()})",
                lambda: f"outline({self._path()})",
                lambda: f"log({value()})",
                lambda: f"ask_llm({value()})",
                lambda: f"ask_llm_many([{value()}])",
                lambda: f"submit_result({self._text()}, [{self._path()}])",
                lambda: (
                    f"{pick(('read_file', 'log', 'write_file', 'list_dir'))}(*[{value()}], **{{{self._text()}: {value()}}})"
                ),
                lambda: f"list(map({pick(('read_file', 'len', 'open'))}, [{self._path()}]))",
                lambda: f"sorted([{self._path()}], key={pick(('read_file', 'len', 'lambda n: file_exists(n)'))})",
                lambda: (
                    f"Path({self._path()}).{pick(('read_text()', 'write_text(str(x))', 'exists()', 'unlink()', 'stat()', 'mkdir()', 'iterdir()', 'resolve()'))}"
                ),
                lambda: (
                    f"os.{pick(('listdir', 'remove', 'stat', 'makedirs', 'rmdir', 'scandir', 'chdir'))}({self._path()})"
                ),
                lambda: f"os.rename({self._path()}, {self._path()})",
                lambda: f"list(os.walk({self._path()}))",
                lambda: f"open({self._path()}).read()",
            )
        )()

    # ── values ──

    def _path(self) -> str:
        return repr(self._choices.pick(PATHS)) if self._choices.pick((True, True, True, False)) else self._text()

    def _text(self) -> str:
        return repr(self._choices.text())

    def _value(self, depth: int) -> str:
        simple = (
            lambda: self._choices.pick(NUMBERS),
            self._text,
            self._path,
            lambda: self._choices.pick(NAMES),
            lambda: self._choices.pick(
                ("'x' * 10 ** 6", "[0] * 10 ** 5", "b'\\xff'", "{}", "...", "print", "iter([1])", "(1,)")
            ),
            lambda: self._choices.pick(
                ("'<coroutine object f>'", "range(3)", "lambda: 1", "object", "Path('a.txt')", "{1, 2}")
            ),
        )
        if depth >= DEPTH:
            return self._choices.pick(simple)()
        nested = (
            lambda: f"[{self._value(depth + 1)}, {self._value(depth + 1)}]",
            lambda: f"{{{self._text()}: {self._value(depth + 1)}}}",
            lambda: f"({self._value(depth + 1)},) * 3",
            lambda: f"str({self._value(depth + 1)})",
            lambda: f"[{self._value(depth + 1)} for x in range(3)]",
            lambda: f"({self._value(depth + 1)} if {self._value(depth + 1)} else {self._value(depth + 1)})",
            lambda: self._call(depth + 1),
        )
        return self._choices.pick((*simple, *nested))()
