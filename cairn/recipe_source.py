r"""Recipes: sentences recognised by rules, each with a tested program. No model is asked.

A recipe is one file of restricted Python. It opens with a comment block that holds TOML:

    # /// cairn-recipe
    # name = "replace_text"
    # description = "Replaces one text by another."
    # examples = ['replace "colour" with "color" in docs/']
    # patterns = ['replace @quoted(old) with @quoted(new)@where']
    # [[parameters]]
    # name = "old"
    # description = "the text to look for"
    # kind = "text"
    # [[parameters]]
    # name = "path"
    # description = "the file or folder to work in"
    # kind = "path"
    # default = "."
    # ///

A pattern is a regular expression that must fit the *whole* sentence, in any case of letters, after courtesies and the
final full stop are gone. So a condition no pattern knows ("except", "only", "and then") makes the recipe abstain. A
space in a pattern fits any run of blanks (write `\s` in a set). Named groups are parameters, and four words stand for
common groups:

    @quoted(old)   a text in any kind of quotes              @language   "Python", "Markdown", ...
    @name(old)     an identifier, in quotes or not           @where      nothing, "everywhere", "in the whole project",
                                                                         or "in src/", which fills the parameter path

A table `words` in the header may hold further pieces, written in patterns as `@piece`.

A parameter's kind is "text", "path" (inside the project) or "name" (a Python identifier, no keyword); without a default
it must be given. The program finds the values in `PARAMETERS`, a dict of strings.
"""

from __future__ import annotations

import functools
import itertools
import keyword
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from cairn.errors import NotFound, UsageProblem
from cairn.program import Program, Step
from cairn.project_path import project_path

FOLDER = Path(__file__).parent / "recipes"
LONGEST = 10_000  # characters of a sentence, quoted texts included
_RUN_OF_BLANKS = re.compile(r"\s{50}")  # no sentence has it, and the patterns' time would grow with its square


class ParameterKind(StrEnum):
    """What a parameter's value must be."""

    TEXT = "text"
    PATH = "path"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value a recipe's program works with. A `default` of None means that it must be given."""

    name: str
    description: str
    kind: ParameterKind = ParameterKind.TEXT
    default: str | None = None

    def parse(self, value: str) -> str:
        """The value in one spelling. Raises UsageProblem when it is not of this parameter's kind."""
        try:
            if self.kind is ParameterKind.PATH:
                return project_path(value)
        except (ValueError, PermissionError) as error:
            raise UsageProblem(f"{self.name} is no path inside the project.", f"{error}.") from None
        if self.kind is ParameterKind.NAME and (not value.isidentifier() or keyword.iskeyword(value)):
            raise UsageProblem(f"{self.name} is no Python name.", f"{value!r} cannot name anything in Python.")
        if not value.isprintable() and not value.replace("\n", "").replace("\t", "").isprintable():
            raise UsageProblem(f"{self.name} has characters that cannot be shown.", f"It is {value!a}.")
        return value


@dataclass(frozen=True, slots=True)
class Recipe:
    """A program, the sentences it answers, and the values it needs. `text` is the whole file.

    `origin` says where that file is, `owner` whose it is, in words that follow the recipe's name.
    """

    name: str
    description: str
    text: str
    parameters: tuple[Parameter, ...] = ()
    examples: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    origin: str = "built-in"
    owner: str = "built-in"

    @property
    def is_built_in(self) -> bool:
        """True for those that come with Cairn."""
        return self.owner == "built-in"

    @property
    def label(self) -> str:
        """How people see where the program came from."""
        whose = f"built-in recipe {self.name}" if self.is_built_in else f"recipe {self.name} {self.owner}"
        return f"{whose} (no model planned this)"

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Every parameter's value, defaults filled in. Raises UsageProblem for unknown, missing and unfit ones."""
        if unknown := sorted(set(given) - {parameter.name for parameter in self.parameters}):
            known = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise UsageProblem(f"Recipe {self.name} has no parameter {unknown[0]}.", f"It has: {known}.")
        values: dict[str, str] = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if value is None:
                raise UsageProblem(f"Recipe {self.name} needs {parameter.name}.", f"It is {parameter.description}.")
            values[parameter.name] = value if value == parameter.default else parameter.parse(value)
        return values

    def program(self, given: Mapping[str, str] = MappingProxyType({})) -> Program:
        """The recipe's program with its parameters written in as a literal first line."""
        values = ", ".join(f"{name!a}: {value!a}" for name, value in self.values(given).items())
        return Program(text=f"PARAMETERS: dict[str, str] = {{{values}}}\n\n{self.text}", label=self.label)

    def for_programs(self) -> str:
        """The program without its header, behind its parameters' defaults: ready for `exec` in another program."""
        defaults = ", ".join(f"{each.name!a}: {each.default!a}" for each in self.parameters if each.default is not None)
        told = "".join(f"#   {each.name}: {' '.join(each.description.split())}\n" for each in self.parameters)
        body = _HEADER.sub("", self.text).lstrip("\n")
        return f"# PARAMETERS, a dict of strings:\n{told}PARAMETERS = {{{defaults}}} | PARAMETERS\n\n{body}"

    def in_short(self) -> str:
        """The description, with the parameters and their defaults: what a model that writes programs is told."""
        given = ", ".join(
            each.name if each.default is None else f"{each.name}={each.default!r}" for each in self.parameters
        )
        return f"{' '.join(self.description.split())} ({given})" if given else self.description


@dataclass(frozen=True, slots=True)
class Match:
    """A sentence understood: the recipe, and the parameters the sentence named."""

    recipe: Recipe
    parameters: Mapping[str, str] = field(default_factory=dict)


class RecipeSource:
    """A code source that hands over one recipe's program at the first step, and nothing after it."""

    answers = False

    def __init__(self, recipe: Recipe, parameters: Mapping[str, str] = MappingProxyType({})) -> None:
        self._program = recipe.program(parameters)
        self.label = recipe.label

    @classmethod
    def named(
        cls, name: str, parameters: Mapping[str, str] = MappingProxyType({}), text: str | None = None
    ) -> RecipeSource:
        """The source for a built-in recipe, or for one of another's whose file has this `text`.

        Raises NotFound, or UsageProblem for parameters it cannot have.
        """
        if text is None:
            return cls(recipe_named(name), parameters)
        return cls(replace(read_recipe(text, name), origin=name, owner="of your own"), parameters)

    async def code_for(self, request: str, steps: Sequence[Step], context: object) -> Program | None:  # noqa: ARG002
        """The program for the first step; None once a step was taken, because a recipe does not learn."""
        return None if steps else self._program


def match(request: str, recipes: Iterable[Recipe] | None = None) -> Match | None:
    """The one recipe whose rules fit the whole sentence, or None when none fits or it could mean two things."""
    if len(request.strip()) > LONGEST or _RUN_OF_BLANKS.search(request.strip()):
        return None
    sentence = _without_courtesies(request)
    found: list[Match] = []
    for recipe in built_in_recipes() if recipes is None else recipes:
        for pattern in recipe.patterns:
            fit = _compiled(pattern).fullmatch(sentence)
            understood = None if fit is None else _understood(recipe, fit)
            if understood is not None and understood not in found:
                found.append(understood)
    return found[0] if len(found) == 1 else None


def recipe_named(name: str) -> Recipe:
    """The built-in recipe of that name. Raises NotFound, which lists them all."""
    for recipe in built_in_recipes():
        if recipe.name == name:
            return recipe
    known = ", ".join(recipe.name for recipe in built_in_recipes())
    raise NotFound(f"No recipe is called {name}.", f"There are: {known}.", "cairn recipes   tells what each one does.")


@functools.cache
def built_in_recipes() -> tuple[Recipe, ...]:
    """The recipes that come with Cairn, by name; read from disk once."""
    return tuple(read_recipe(file.read_text(encoding="utf-8"), file.name) for file in sorted(FOLDER.glob("*.py")))


_HEADER = re.compile(r"\A# /// cairn-recipe\n(?P<toml>(?:#[^\n]*\n)+?)# ///\n")


def read_recipe(text: str, origin: str) -> Recipe:
    """The recipe in a file's text; `origin` names the file in errors. Raises UsageProblem when its header is unfit."""
    header = _HEADER.match(text)
    if header is None:
        raise _unfit(origin, "it does not open with a block from '# /// cairn-recipe' to '# ///'")
    try:
        fields = tomllib.loads(re.sub(r"^# ?", "", header["toml"], flags=re.MULTILINE))
        recipe = Recipe(
            name=fields["name"],
            description=fields["description"],
            text=text,
            parameters=tuple(_parameter(table) for table in fields.get("parameters", ())),
            examples=tuple(fields.get("examples", ())),
            patterns=tuple(_with_words(pattern, fields.get("words", {})) for pattern in fields.get("patterns", ())),
        )
        for pattern in recipe.patterns:
            _require_known_groups(recipe, _compiled(pattern))
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise _unfit(origin, f"missing {error}" if isinstance(error, KeyError) else str(error)) from None
    return recipe


def _with_words(pattern: str, words: Mapping[str, str]) -> str:
    """The pattern with the header's own pieces put in; a piece may use those that stand below it."""
    for name, piece in words.items():
        pattern = f"(?:{piece})".join(re.split(rf"@{name}\b", pattern))
    return pattern


def _parameter(table: Mapping[str, str]) -> Parameter:
    kind = ParameterKind(table.get("kind", ParameterKind.TEXT))
    return Parameter(table["name"], table["description"], kind, table.get("default"))


def _unfit(origin: str, reason: str) -> UsageProblem:
    return UsageProblem(f"{origin} is no recipe.", f"In its header: {reason}.", "The built-in recipes show the form.")


def _require_known_groups(recipe: Recipe, pattern: re.Pattern[str]) -> None:
    known = {parameter.name for parameter in recipe.parameters}
    for group in pattern.groupindex:
        if _parameter_name(group) not in known:
            raise ValueError(f"a pattern names the parameter {_parameter_name(group)!r}, which is not declared")


# --- sentences --------------------------------------------------------------------------------------------------------

_BEFORE = re.compile(r"(?:(?:please|kindly|(?P<asked>can|could|would|will) you(?: please)?),?\s+)", re.IGNORECASE)
_AFTER = re.compile(r"[,.!\s]+(?:please|thanks|thank you|thx)$", re.IGNORECASE)


def _without_courtesies(request: str) -> str:
    sentence = request.strip()
    before = _BEFORE.match(sentence)
    if before is not None:
        sentence = sentence[before.end() :]
    if before is not None and before["asked"]:
        sentence = sentence.removesuffix("?")
    sentence = _AFTER.sub("", sentence.rstrip(".! "))
    return sentence.rstrip(".! ")


def _understood(recipe: Recipe, fit: re.Match[str]) -> Match | None:
    """The match with its parameters, or None when one of them cannot be what the recipe needs."""
    given = {_parameter_name(group): value for group, value in fit.groupdict().items() if value is not None}
    try:
        values = recipe.values(given)
    except UsageProblem:
        return None
    return Match(recipe, {name: values[name] for name in given})


# --- patterns ---------------------------------------------------------------------------------------------------------

# `re` wants each group's name once, so each use of a word gets its own number: old__1, old__2.
_NUMBERED = re.compile(r"__\d+$")
_QUOTES = (('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"), ("\u2018", "\u2019"), ("«", "»"))
_LANGUAGES = (
    r"Python|Markdown|reStructuredText|JavaScript|TypeScript|Java|Go|Rust|C\+\+|C|Ruby|shell|HTML|CSS|YAML|TOML"
)
_SUFFIXES = "pyi?|md|rst|txt|toml|ya?ml|json|cfg|ini|[jt]sx?|java|go|rs|c|h|cc|cpp|hpp|rb|sh|html?|css"
_FOLDERS = "src|lib|docs?|tests?|app|examples?|scripts?|tools?|packages"
_WHOLE = (
    "(?:the|this|my|our) (?:(?:whole|entire|current) )?"
    "(?:project|repo(?:sitory)?|code ?base|(?:source )?code|source tree)"
)
# One group for the path; the look-ahead keeps plain words ("in production", "in uppercase") from being taken for one.
_PATH = (
    rf"(?:the (?:(?:file|folder|directory) )?|(?:file|folder|directory) )?[`'\"]?"
    rf"(?P<path__0>(?=[^\s`'\"]*/|[^\s`'\"]*\.(?:{_SUFFIXES})(?![\w.])|(?:{_FOLDERS})\b"
    rf"|[\w-]+[`'\"]? (?:folder|directory))[\w.@+-][\w.@+/-]*)[`'\"]?(?: (?:folder|directory))?"
)
_WHERE = rf"(?: everywhere| (?:in|from|for|of|under|inside|within|across|throughout) (?:{_WHOLE}|{_PATH}))?"


def _parameter_name(group: str) -> str:
    return _NUMBERED.sub("", group)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    numbers = itertools.count(1)

    def spelled_out(word: re.Match[str]) -> str:
        if word["word"] == "where":
            return _WHERE.replace("__0", f"__{next(numbers)}")
        if word["word"] == "language":
            return f"(?P<language__{next(numbers)}>{_LANGUAGES})"
        if word["group"] is None:
            raise ValueError(f"@{word['word']} wants a parameter's name, as in @{word['word']}(old)")
        return _in_quotes(word["group"], numbers) if word["word"] == "quoted" else _identifier(word["group"], numbers)

    spelled = re.sub(r"@(?P<word>quoted|name|language|where)\b(?:\((?P<group>\w+)\))?", spelled_out, pattern)
    return re.compile(spelled.replace(" ?", r"\s*").replace(" ", r"\s+"), re.IGNORECASE)


def _in_quotes(group: str, numbers: Iterable[int]) -> str:
    texts = zip(_QUOTES, numbers, strict=False)
    return "(?:" + "|".join(f"{a}(?P<{group}__{n}>[^{a}{b}]*){b}" for (a, b), n in texts) + ")"


def _identifier(group: str, numbers: Iterable[int]) -> str:
    # An empty pair of brackets after a function's name is how people write one; it is not part of the name.
    texts = zip(("`", "'", '"', ""), numbers, strict=False)
    return "(?:" + "|".join(rf"{q}(?P<{group}__{n}>[^\W\d]\w*)(?:\(\))?{q}" for q, n in texts) + ")"
