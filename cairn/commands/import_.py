"""`cairn import FILE`: a task that was exported."""

from __future__ import annotations

from pathlib import Path

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@as_json
@click.pass_obj
def command(chosen: Chosen, file: Path, as_json: bool) -> None:
    """Take a task from a file that was exported.

    It can be shown, replayed, resumed, and accepted into this project: its changes are merged with your files.
    """
    from cairn.json_output import review_json
    from cairn.portable_task import import_task
    from cairn.review_text import ending

    console = Console(as_json=as_json)
    with opened(chosen, console, founding=True) as orchestrator:
        review = orchestrator.reviews.of(import_task(orchestrator, file))
    if as_json:
        console.json(review_json(review))
    console.write(ending(review, console))
