"""All recipes a project has: its own in `.cairn/recipes`, those of installed packages, and the built-in ones.

A package offers recipes with an entry point in the group `cairn.recipes` that names one of its packages; the `.py`
files in that package's folder are the recipes. Of two with one name the project's goes before a package's, and that
before a built-in one. A file that is no recipe is named, and keeps no other from being used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from cairn.errors import CairnError, NotFound, UsageProblem
from cairn.recipe_source import Recipe, built_in_recipes, read_recipe

GROUP = "cairn.recipes"
FOLDER = "recipes"  # in a project's .cairn
LARGEST = 1_000_000  # bytes of a recipe's file
MESSAGE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file or package that was meant to bring recipes, and why it does not."""

    origin: str
    error: CairnError


@dataclass(frozen=True, slots=True)
class Library:
    """Recipes in the order in which a name is looked for; `shadowed` ones have the name of one before them."""

    recipes: tuple[Recipe, ...]
    shadowed: tuple[Recipe, ...] = ()
    unusable: tuple[Unusable, ...] = ()

    @property
    def offered(self) -> tuple[tuple[str, str], ...]:
        """Names with descriptions and parameters, for a model that writes programs."""
        return tuple((recipe.name, recipe.in_short()) for recipe in self.recipes)

    def text_of(self, name: str) -> str:
        """A recipe's program, for another program to run or read. Raises ValueError for a name that none has."""
        found = next((recipe for recipe in self.recipes if recipe.name == name), None)
        if found is None:
            known = ", ".join(recipe.name for recipe in self.recipes)
            raise ValueError(f"no recipe is called '{name}'; there are {known}"[:MESSAGE_CHARS])
        return found.for_programs()

    def named(self, name: str) -> Recipe:
        """The recipe of that name. Raises NotFound, which lists them all, or what is wrong with a file of that name."""
        for recipe in self.recipes:
            if recipe.name == name:
                return recipe
        for broken in self.unusable:
            if Path(broken.origin).stem == name:
                raise broken.error
        known = ", ".join(recipe.name for recipe in self.recipes)
        raise NotFound(
            f"No recipe is called {name}.", f"There are: {known}.", "cairn recipes   tells what each one does."
        )


def library(state: Path | None) -> Library:
    """The recipes of the project whose `.cairn` folder is `state`; without one, those of packages and the built-in."""
    unusable: list[Unusable] = []
    found = [*_of_project(state, unusable), *_of_packages(unusable), *built_in_recipes()]
    names: dict[str, Recipe] = {}
    shadowed: list[Recipe] = []
    for recipe in found:
        if recipe.name in names:
            shadowed.append(recipe)
        else:
            names[recipe.name] = recipe
    return Library(tuple(names.values()), tuple(shadowed), tuple(unusable))


def _of_project(state: Path | None, unusable: list[Unusable]) -> Iterator[Recipe]:
    if state is not None:
        yield from _in_folder(state / FOLDER, "of this project", f".cairn/{FOLDER}", unusable)


def _of_packages(unusable: list[Unusable]) -> Iterator[Recipe]:
    for entry in sorted(entry_points(group=GROUP), key=lambda each: (each.dist.name if each.dist else "", each.name)):
        package = entry.dist.name if entry.dist else entry.value
        try:
            folder = _folder_of(entry)
        except Exception as error:  # noqa: BLE001 - whatever a foreign package does, the others are still of use
            why = f"{type(error).__name__}: {error}"
            problem = UsageProblem(f"The recipes of {package} cannot be used.", why, f"pip uninstall {package}")
            unusable.append(Unusable(package, problem))
            continue
        yield from _in_folder(folder, f"of {package}", package, unusable)


def _folder_of(entry: EntryPoint) -> Path:
    """The package's folder, found without running any of its code."""
    from importlib.util import find_spec

    top, *rest = entry.module.split(".")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {top}")
    folder = Path(next(iter(spec.submodule_search_locations)), *rest)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {entry.module}")
    return folder


def _in_folder(folder: Path, owner: str, shown: str, unusable: list[Unusable]) -> Iterator[Recipe]:
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        origin = f"{shown}/{path.name}"
        try:
            yield replace(read_recipe(_text(path, origin), origin), origin=origin, owner=owner)
        except CairnError as error:
            unusable.append(Unusable(origin, error))


def _text(path: Path, origin: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{origin} cannot be read.", f"{error}.", "Mend or remove that file.") from None
    if len(data) > LARGEST:
        raise UsageProblem(f"{origin} is too large for a recipe.", f"It has more than {LARGEST:,} bytes.")
    return text.replace("\r\n", "\n")
