"""`cairn recipes`: what can be done without a model; a recipe's text; a recipe made of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console, printable
from cairn.errors import NotFound

if TYPE_CHECKING:
    from cairn.recipe_library import Library
    from cairn.recipe_source import Recipe


@click.group("recipes", invoke_without_command=True)
@as_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the recipes, which need no model.

    A recipe is a tested program for one kind of task. It is taken when no model is set up and its rules recognise the
    whole sentence, or by its name: `cairn run --recipe NAME`. Your own are files in .cairn/recipes.
    """
    if context.invoked_subcommand is not None:
        return
    console = Console(as_json=as_json)
    found = _library(context.obj)
    if as_json:
        unusable = [{"origin": each.origin, "why": each.error.why} for each in found.unusable]
        console.json({"recipes": [_as_json(recipe) for recipe in found.recipes], "unusable": unusable})
    for recipe in found.recipes:
        owner = "" if recipe.is_built_in else f"  ({recipe.owner})"
        console.write(f"{console.style(recipe.name, 'bold')}  {printable(recipe.description)}{printable(owner)}")
        for example in recipe.examples:
            sentence = printable(example)
            console.write(f'  cairn run "{sentence}"' if '"' not in sentence else f"  cairn run '{sentence}'")
    for recipe in found.shadowed:
        console.note(f"cairn: the recipe {recipe.name} {recipe.owner} is hidden by another one of that name.")
    for broken in found.unusable:
        console.note(f"cairn: {printable(broken.error.what)} {printable(broken.error.why)}")


@command.command("show")
@click.argument("name", metavar="NAME")
@as_json
@click.pass_obj
def show(chosen: Chosen, name: str, as_json: bool) -> None:
    """Print a recipe: what it does, its parameters, its program."""
    console = Console(as_json=as_json)
    recipe = _library(chosen).named(name)
    if as_json:
        console.json(_as_json(recipe) | {"text": recipe.text})
    console.note(f"{recipe.name}  {printable(recipe.description)}  ({printable(recipe.origin)})")
    for parameter in recipe.parameters:
        default = "" if parameter.default is None else f" (default {parameter.default!r})"
        console.note(f"  {parameter.name}={parameter.kind}   {printable(parameter.description)}{printable(default)}")
    console.note(f"cairn run --recipe {recipe.name}" + "".join(f" {each.name}=..." for each in recipe.parameters))
    console.note("")
    console.python(recipe.text.rstrip("\n"))


@command.command("new")
@click.argument("name", metavar="NAME")
@click.option("--from", "task_id", metavar="ID", required=True, help="The task whose programs the recipe is made of.")
@as_json
@click.pass_obj
def new(chosen: Chosen, name: str, task_id: str, as_json: bool) -> None:
    """Make a recipe of your own of what a task did.

    It is a file in .cairn/recipes: complete its header, put parameters into its program, and it is found from then on.
    """
    from cairn.recipe_library import FOLDER
    from cairn.recipe_writing import recipe_text, write_recipe

    console = Console(as_json=as_json)
    with opened(chosen, console) as orchestrator:
        review = orchestrator.reviews.of(orchestrator.task(task_id))
        text = recipe_text(name, review.task.request, review.steps)
        path = write_recipe(orchestrator.project.state / FOLDER, name, text)
    if as_json:
        console.json({"recipe": name, "file": str(path)})
    console.write(f"Wrote {printable(str(path))}.")
    console.note(f"cairn run --recipe {name}   runs it; its header says which sentences lead to it.")


def _library(chosen: Chosen) -> Library:
    """Of the project one stands in; outside of any, the installed ones."""
    from cairn.project import Project
    from cairn.recipe_library import library

    try:
        return library(Project.find(chosen.path, exact=chosen.here).state)
    except NotFound:
        return library(None)


def _as_json(recipe: Recipe) -> dict[str, object]:
    return {
        "name": recipe.name,
        "description": recipe.description,
        "examples": list(recipe.examples),
        "origin": recipe.origin,
        "parameters": [
            {"name": each.name, "description": each.description, "kind": str(each.kind), "default": each.default}
            for each in recipe.parameters
        ],
    }
