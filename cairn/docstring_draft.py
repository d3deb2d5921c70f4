"""One-sentence docstrings from a very small model: what it is asked, and which of its sentences are fit to be read.

Such a model writes fluent sentences that are often wrong. So it is made to begin as the function's name demands, and
its sentence is taken only when every word of weight comes from the function itself. Pure: no model here.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

_ABOUT_A_FUNCTION = re.compile(r"docstring|what\b.{0,40}\bdoes|describe|summar", re.IGNORECASE | re.DOTALL)
_CONTEXT = re.compile(r"^Context:\n", re.MULTILINE)
_START = re.compile(r"^[ \t]*(?:@|def\b|async def\b)", re.MULTILINE)
_BODY_LINES = 25  # more of a body takes seconds to read and does not better the sentence
_TRIMMED_LINES = 40  # of a source that was cut in the middle of a statement


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function as its source shows it."""

    node: FunctionNode
    source: str

    @classmethod
    def parse(cls, source: str) -> Function | None:
        """None unless the text is one function, whole or with its end cut off."""
        lines = textwrap.dedent(source.strip("\n")).split("\n")
        for end in range(len(lines), max(0, len(lines) - _TRIMMED_LINES), -1):
            text = "\n".join(lines[:end])
            try:
                body = ast.parse(text).body
            except (SyntaxError, ValueError, RecursionError):
                continue
            if len(body) == 1 and isinstance(body[0], FunctionNode):
                return cls(body[0], text.rstrip())
            return None
        return None

    @property
    def signature(self) -> str:
        """The lines from "def" to its colon, without decorators."""
        first = self.node.body[0]
        below = min([first.lineno, *(mark.lineno for mark in getattr(first, "decorator_list", []))])
        return "\n".join(self.source.split("\n")[self.node.lineno - 1 : below - 1]).rstrip()

    @property
    def parameters(self) -> list[ast.arg]:
        """Every parameter in order, `self` included."""
        found = self.node.args
        many = [arg for arg in (found.vararg, found.kwarg) if arg is not None]
        return [*found.posonlyargs, *found.args, *found.kwonlyargs, *many]

    @property
    def is_method(self) -> bool:
        """True when it belongs to an object or a class."""
        return any(arg.arg in {"self", "cls"} for arg in self.parameters[:1])

    @property
    def results(self) -> list[ast.expr]:
        """The expressions it returns or yields."""
        nodes = (n for n in ast.walk(self.node) if isinstance(n, ast.Return | ast.Yield | ast.YieldFrom))
        return [n.value for n in nodes if n.value is not None]

    @property
    def is_property(self) -> bool:
        """True for what is read like a value."""
        marks = (ast.unparse(mark).rpartition(".")[2] for mark in self.node.decorator_list)
        return any(mark in {"property", "cached_property"} for mark in marks)

    @property
    def is_stub(self) -> bool:
        """True when there is nothing to describe: a body of "..." or "pass", or one on the line of the def."""
        first = self.node.body[0]
        idle = all(isinstance(s, ast.Pass) or _is_constant(s) for s in self.node.body)
        return idle or first.lineno <= self.node.lineno


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def function_in(question: str) -> Function | None:
    """The function a question asks a sentence about; None for any other question."""
    context = _CONTEXT.search(question)
    start = _START.search(question, context.end() if context else 0)
    if start is None or not _ABOUT_A_FUNCTION.search(question[: start.start()]):
        return None
    return Function.parse(question[start.start() :].removesuffix("```").rstrip())


# ── what the model is asked ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to complete, and the GBNF grammar its completion must follow."""

    text: str
    grammar: str


def prompts_for(function: Function) -> Iterator[Prompt]:
    """Ways to ask, best first; none for a function whose name does not say how a sentence must begin."""
    beginning = _beginning(function)
    if beginning is None:
        return
    grammar = f'root ::= "{beginning}" word (", " word | " " word){{0,12}} "."\nword ::= [a-zA-Z] [a-zA-Z\']{{0,18}}'
    signature = function.signature
    source = "\n".join(function.source.split("\n")[: signature.count("\n") + 1 + _BODY_LINES])
    for comment in ("The same function with a one-line docstring:", f"Documented version of {function.node.name}:"):
        yield Prompt(f'{source}\n\n\n# {comment}\n{signature}\n    """', grammar)


def _beginning(function: Function) -> str | None:
    if function.is_stub:
        return None
    words = words_of(function.node.name)
    if _answers_yes_or_no(function):
        return "Return True if "
    if not words:
        return None
    if words[0] in _VERBS:
        return f"{words[0].capitalize()} "
    return "Return the " if function.results and (words[0] == "get" or function.is_property) else None


def _answers_yes_or_no(function: Function) -> bool:
    returns = function.node.returns
    annotated = returns is not None and ast.unparse(returns).strip("'\"") == "bool"
    named = function.node.name.lstrip("_").startswith(("is_", "has_", "can_", "should_"))
    always_false = all(isinstance(value, ast.Constant) and not value.value for value in function.results)
    return (annotated or named) and not always_false


_VERBS = frozenset(
    """
    accept add allocate append apply assert attach authenticate bind build cache calculate call cancel capture
    change check choose clamp clean clear clip clone close collect color combine compare compile complete compute
    configure confirm connect consume convert copy count create decode decorate delete describe deserialize detach
    detect disable discard disconnect dispatch display divide download draw drop dump echo edit emit enable encode
    enqueue ensure enter escape estimate evaluate exclude execute exit expand export extend extract fail fetch fill
    filter find finish fit flatten flush follow format forward generate group handle hash hide ignore import include
    increment indent initialize insert inspect install invert invoke iterate join keep launch limit link list load
    locate lock log lookup make map mark mask match measure merge modify monitor move multiply normalize notify open
    order override pack pad parse patch pause peek pick play pop prepare prepend print process prompt prune publish
    pull push put query queue quote raise randomize reach read receive record recover redirect reduce refresh
    register reject release reload remove rename render repair repeat replace reply report request require reset
    resize resolve restore restrict resume retrieve retry reverse rewrite rotate round run sample sanitize save
    scale scan schedule search seek select send serialize set setup show shrink shuffle skip sleep slice sort split
    start stop store stringify strip style submit subscribe substitute subtract sum summarize swap sync tokenize
    track transform translate transpose trim truncate unlock unpack unregister unwrap update upload use validate
    verify visit wait walk warn wrap write
    """.split()  # noqa: SIM905 - a hundred quoted words hide what they are
)


# ── which sentences are fit ─────────────────────────────────────────────────────────────────────────────────────────

_FREE = frozenset(
    """
    a an the of to in on for from with by as at and or not no is are was be been it its this that these those if else
    otherwise when while into then which any all each every one given specified current return returns true false none
    """.split()  # noqa: SIM905
)
_FREE_IN_NAMES = frozenset("get is has can should do on to from of and the a in for by with as py or".split())  # noqa: SIM905
_ABBREVIATED = {
    "argument": "arg args argv", "attribute": "attr attrs", "boolean": "bool", "character": "char chars",
    "column": "col cols", "command": "cmd cmds", "configuration": "config cfg", "context": "ctx",
    "dictionary": "dict", "directory": "dir", "element": "elem", "environment": "env environ", "exception": "error exc",
    "function": "func fn", "index": "idx", "integer": "int", "length": "len", "maximum": "max", "message": "msg",
    "minimum": "min", "number": "num int float", "object": "self obj cls", "option": "opt opts",
    "parameter": "param params", "position": "pos", "previous": "prev", "string": "str text", "temporary": "tmp temp",
    "value": "val",
}  # fmt: skip
_ENDINGS = sorted(
    [
        "ations",
        "ation",
        "ings",
        "ing",
        "ions",
        "ion",
        "ies",
        "ied",
        "ers",
        "able",
        "ible",
        "ed",
        "es",
        "er",
        "s",
        "e",
        "y",
    ],
    key=len,
    reverse=True,
)
_SHORTEST, _LONGEST = 3, 16  # words
_AFTER_GIVEN = 3  # words in which the thing given must be named


def acceptable_sentence(sentence: str, function: Function) -> bool:
    """True when the sentence speaks of nothing but what the function's signature and results name.

    It is strict on purpose. On 145 functions of five packages that it was not made with, 14 sentences passed, of which
    10 were true and useful; of all sentences, passed or not, about a third were.
    """
    words = [word.lower() for word in re.findall(r"[A-Za-z']+", sentence)]
    if function.is_stub or not _SHORTEST <= len(words) <= _LONGEST:
        return False
    if words[0] in {"return", "returns"} and not function.results:
        return False
    weighty = [word for word in words if word not in _FREE]
    return (
        not _repeats(words)
        and _is_grounded(weighty, function)
        and _covers_the_name(words, function)
        and _gives_what_it_takes(words, function)
    )


_WHICH_KIND = re.compile(r"\bif (?:the|a|an) (?:given )?(\w+) is (?:a|an) ((?:\w+ ){1,3})(?=\1\b)")


def _repeats(words: list[str]) -> bool:
    """A small model in doubt repeats itself; only "if the year is a leap year" says a word twice and well."""
    once = _WHICH_KIND.sub(r"\2", " ".join(words)).split()
    roots = [_root(word) for word in once if word not in _FREE]
    return len(set(roots)) < len(roots)


def _is_grounded(words: list[str], function: Function) -> bool:
    node = function.node
    told = [node.name, ast.unparse(node.args), *(ast.unparse(value) for value in function.results)]
    if node.returns is not None:
        told.append(ast.unparse(node.returns))
    known = _roots(" ".join(told))
    if "type" not in words_of(" ".join([node.name, *(arg.arg for arg in function.parameters)])):
        known -= {"type", "typ"}  # from a class such as RenderableType, of which nothing follows
    return all(_forms(word) & known for word in words)


def _covers_the_name(words: list[str], function: Function) -> bool:
    name = [word for word in words_of(function.node.name) if word not in _FREE_IN_NAMES]
    said = set[str]().union(*(_forms(word) for word in words))
    hits = sum(_root(word) in said or word in said for word in name)
    return bool(name) and hits >= (len(name) if len(name) <= 2 else len(name) - 1)  # noqa: PLR2004 - a long name may lose one


def _gives_what_it_takes(words: list[str], function: Function) -> bool:
    """What is called "given" must be a parameter, and what a method gives is its own, not that of a given x."""
    if function.is_method and re.search(r"\bof (?:the|a|an) (?:given|specified)\b", " ".join(words)):
        return False
    named = [ast.unparse(arg) for arg in function.parameters if arg.arg not in {"self", "cls"}]
    taken = _roots(" ".join(named))
    for place, word in enumerate(words):
        if word in {"given", "specified"}:
            things = words[place + 1 : place + 1 + _AFTER_GIVEN]
            if not any(_forms(thing) & taken for thing in things):
                return False
    return True


def words_of(name: str) -> list[str]:
    """The words in an identifier: snake_case, camelCase and their mixtures, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _roots(code: str) -> set[str]:
    words = words_of(code)
    return {*words, *(_root(word) for word in words)}


def _forms(word: str) -> set[str]:
    """The word, its root, and how programmers shorten it."""
    short = _ABBREVIATED.get(word) or _ABBREVIATED.get(word.rstrip("s")) or ""
    return {word, _root(word), *short.split()}


def _root(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:  # noqa: PLR2004 - what is shorter is no root
            return word.removesuffix(ending)
    return word
