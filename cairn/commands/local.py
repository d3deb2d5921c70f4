"""`cairn local`: the small local model that drafts sentences."""

from __future__ import annotations

import click

from cairn.commands import as_json
from cairn.console import Console


@click.group("local")
def command() -> None:
    """Install or check the small local model for drafts.

    SmolLM2-135M writes one-line docstrings without a key or a network. It cannot plan a task. A strict filter
    leaves about one sentence in ten; they are marked as drafts, because some of those need rewriting too.
    """


@command.command("install")
@as_json
def install(as_json: bool) -> None:
    """Fetch the weights once (about 94 MB) and check them by their hash."""
    from cairn import local_model

    console = Console(as_json=as_json)
    path = local_model.install(console.note)
    if as_json:
        console.json({"weights": str(path)})
    console.write(f"The local model is ready: {path}")


@command.command("status")
@as_json
def status(as_json: bool) -> int:
    """Say whether the local model can be used, and what it lacks. Exit code 1 when it cannot."""
    from cairn import local_model

    console = Console(as_json=as_json)
    missing = local_model.unavailable()
    if as_json:
        console.json({"usable": missing is None, "missing": missing})
    console.write("The local model is ready." if missing is None else f"The local model cannot be used: {missing}")
    return 0 if missing is None else 1
