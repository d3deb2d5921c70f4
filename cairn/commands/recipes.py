"""`cairn recipes`: what can be done without a model."""

from __future__ import annotations

import click

from cairn.commands import as_json
from cairn.console import Console


@click.command("recipes")
@as_json
def command(as_json: bool) -> None:
    """List the built-in recipes, which need no model.

    A recipe is a tested program for one kind of task. It is taken when no model is set up and its rules recognise the
    whole sentence.
    """
    from cairn.recipe_source import built_in_recipes

    console = Console(as_json=as_json)
    recipes = built_in_recipes()
    if as_json:
        told = [
            {"name": recipe.name, "description": recipe.description, "examples": list(recipe.examples)}
            for recipe in recipes
        ]
        console.json({"recipes": told})
    for recipe in recipes:
        console.write(f"{console.style(recipe.name, 'bold')}  {recipe.description}")
        for example in recipe.examples:
            console.write(f'  cairn run "{example}"' if '"' not in example else f"  cairn run '{example}'")
