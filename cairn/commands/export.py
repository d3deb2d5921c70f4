"""`cairn export ID FILE`: a task in one file, for another machine or person."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cairn.commands import Chosen, as_json, opened
from cairn.console import Console, printable
from cairn.errors import UsageProblem


@click.command("export")
@click.argument("task_id", metavar="ID")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--even-if-it-looks-secret", "even_if", is_flag=True, help="Write what looks like a key but is none.")
@as_json
@click.pass_obj
def command(chosen: Chosen, task_id: str, file: Path, even_if: bool, as_json: bool) -> None:
    """Write a task, whole, into one file that can be imported.

    Its programs, journal, captured files, changes and answers of models; no key that this machine knows.
    """
    from cairn.disk_use import size_in_words
    from cairn.known_secrets import known_secrets
    from cairn.language_model import keys_file
    from cairn.portable_task import export_task

    if str(file) in {"-", "."}:
        raise UsageProblem("A task is exported to a file, not to a pipe or a folder.", fix="cairn export ID task.cairn")
    console = Console(as_json=as_json)
    with opened(chosen, console, showing=True) as orchestrator:
        task = orchestrator.task(task_id)
        exported = export_task(orchestrator, task, file, known_secrets(os.environ, keys_file()), even_if=even_if)
    if as_json:
        console.json({"id": task.id, "file": str(exported.path), "bytes": exported.size})
    console.write(f"Exported {task.id} to {printable(str(file))}, {size_in_words(exported.size)}.")
    console.note(f"cairn import {printable(str(file))}   takes it into another project.")
