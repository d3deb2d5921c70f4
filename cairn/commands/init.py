"""`cairn init`: a settings file that explains itself."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json
from cairn.console import Console
from cairn.errors import UsageProblem


@click.command("init")
@as_json
@click.pass_obj
def command(chosen: Chosen, as_json: bool) -> None:
    """Write a commented settings file.

    It is cairn.toml at the project's root; the folder .cairn/ for Cairn's own state is made too.
    """
    from cairn.project import Project
    from cairn.settings import PROJECT_FILE, commented_file

    console = Console(as_json=as_json)
    project = Project.find(chosen.path, exact=chosen.here)
    path = project.root / PROJECT_FILE
    project.prepare()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented_file())
    except FileExistsError:
        raise UsageProblem(f"{path} exists already; it was left as it is.", fix="Edit it, or move it away.") from None
    if as_json:
        console.json({"settings": str(path), "state": str(project.state)})
    console.write(f"Wrote {path}: every setting, explained, at its default.")
    console.note('cairn run "add docstrings"   starts a first task; cairn doctor   says what is missing.')
