"""Which code source, text model and runtime a task gets, found by name: a built-in table, then entry points.

A package adds a code source with an entry point in the group `cairn.code_sources`: a callable that takes the
`CodeOrigin` and the `Settings` and returns a `CodeSource`. For runtimes see `cairn.runtime`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cairn.errors import CairnError, UsageProblem
from cairn.task import CodeOrigin

if TYPE_CHECKING:
    from cairn.code_generator import CodeSource
    from cairn.language_model import TextModel
    from cairn.recipe_library import Library
    from cairn.recipe_source import Recipe
    from cairn.runtime import Runtime
    from cairn.settings import RuntimeSettings, Settings

GROUP = "cairn.code_sources"
RUNTIMES = "cairn.runtimes"


def code_source(origin: CodeOrigin, settings: Settings) -> CodeSource:
    """The source that `origin.source` names. Raises UsageProblem for an unknown or broken one, ModelUnavailable."""
    built_in = _BUILT_IN.get(origin.source)
    if built_in is not None:
        return built_in(origin, settings)
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP, name=origin.source):
        try:
            source: CodeSource = entry.load()(origin, settings)
        except Exception as error:
            raise UsageProblem(
                f"The code source '{origin.source}' of {entry.value} cannot be used.",
                f"{type(error).__name__}: {error}",
                "Mend or uninstall the package that brings it.",
            ) from error
        return source
    known = ", ".join([*_BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))])
    raise UsageProblem(f"There is no code source '{origin.source}'.", f"Known: {known}.")


def recipe_origin(recipe: Recipe, parameters: Mapping[str, str]) -> CodeOrigin:
    """A recipe as the writer of a task's program; the text of one that is not built in is kept with the task."""
    return CodeOrigin("recipe", recipe.name, None if recipe.is_built_in else recipe.text, parameters)


def origin_for(request: str, settings: Settings, environ: Mapping[str, str], recipes: Library) -> CodeOrigin:
    """Who can do the request: a configured model, else a recipe that recognises it.

    Raises the error of `language_model.describe_missing` when nobody can.
    """
    from cairn.language_model import choose_model
    from cairn.recipe_source import match

    model = choose_model(settings.model, environ)
    if model is not None:
        return CodeOrigin("model", model)
    found = match(request, recipes.recipes)
    if found is not None:
        return recipe_origin(found.recipe, found.parameters)
    from cairn.language_model import describe_missing

    names = tuple(recipe.name for recipe in recipes.recipes)
    raise describe_missing(request, names, workers=settings.engine.url is not None)


def model_origin(settings: Settings) -> CodeOrigin:
    """The model that the settings name, as the writer of a task's programs."""
    return CodeOrigin("model", settings.model or "")


def text_model(origin: CodeOrigin, settings: Settings, environ: Mapping[str, str] = os.environ) -> TextModel | None:
    """What answers ask_llm: the set text model, the task's own, a default with a key, the local one; None for none."""
    from cairn.language_model import choose_model, open_model

    name = settings.text_model or (origin.name if origin.source == "model" else None)
    name = name or choose_model(settings.model, environ)
    if name is not None:
        return open_model(name, retry=settings.retry)
    from cairn.local_model import LocalModel, is_available

    return LocalModel() if is_available() else None


def _from_model(origin: CodeOrigin, settings: Settings) -> CodeSource:
    from cairn.code_generator import CodeGenerator
    from cairn.external_functions import function_reference
    from cairn.language_model import open_model

    return CodeGenerator(open_model(origin.name, retry=settings.retry), function_reference(tuple(settings.checks)))


def _from_file(origin: CodeOrigin, settings: Settings) -> CodeSource:  # noqa: ARG001 - one signature for all sources
    from cairn.code_generator import FileSource

    return FileSource(origin.program or "", origin.name)


def _from_recipe(origin: CodeOrigin, settings: Settings) -> CodeSource:  # noqa: ARG001
    from cairn.recipe_source import RecipeSource

    return RecipeSource.named(origin.name, origin.parameters, origin.program)


_BUILT_IN: Mapping[str, Callable[[CodeOrigin, Settings], CodeSource]] = {
    "model": _from_model,
    "file": _from_file,
    "recipe": _from_recipe,
}


def runtime(root: Path, settings: RuntimeSettings, *, unsandboxed: bool = False) -> Runtime:
    """The runtime that the settings name, for one task. Raises UsageProblem for an unknown or broken one.

    The local one raises CairnError where no sandbox can be had and nobody said that it may do without.
    """
    if settings.name == "local":
        return _local_runtime(root, settings, unsandboxed=unsandboxed or settings.unsandboxed)
    if settings.name == "ssh":
        return _ssh_runtime(root, settings, unsandboxed=unsandboxed or settings.unsandboxed)
    from importlib.metadata import entry_points

    for entry in entry_points(group=RUNTIMES, name=settings.name):
        try:
            found: Runtime = entry.load()(root, settings)
        except Exception as error:
            raise UsageProblem(
                f"The runtime '{settings.name}' of {entry.value} cannot be used.",
                f"{type(error).__name__}: {error}",
                "Mend or uninstall the package that brings it.",
            ) from error
        return found
    known = ", ".join(["local", "ssh", *(entry.name for entry in entry_points(group=RUNTIMES))])
    raise UsageProblem(f"There is no runtime '{settings.name}'.", f"Known: {known}.")


def _local_runtime(root: Path, settings: RuntimeSettings, *, unsandboxed: bool) -> Runtime:
    from cairn.local_runtime import LocalRuntime, Surroundings, best_sandbox
    from cairn.runtime import Sandbox

    sandbox = best_sandbox()
    if sandbox is Sandbox.NONE and not unsandboxed:
        raise CairnError(
            "No sandbox can be had here, so the project's commands do not run.",
            "A check runs what a program wrote; this machine gives no user namespaces to hold it.",
            ("cairn doctor   says more.", "cairn check ID --unsandboxed   runs it with all your rights."),
        )
    chosen = Sandbox.NONE if unsandboxed else sandbox
    return LocalRuntime(root, Surroundings(chosen, settings.visible, settings.environment, settings.bounds()))


def _ssh_runtime(root: Path, settings: RuntimeSettings, *, unsandboxed: bool) -> Runtime:
    from cairn.ssh_runtime import Place, SshRuntime

    return SshRuntime(
        root,
        Place(
            settings.host or "",
            settings.folder or "",
            unsandboxed=unsandboxed,
            visible=settings.visible,
            environment=settings.environment,
            bounds=settings.bounds(),
        ),
    )
