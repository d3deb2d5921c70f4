"""`cairn init`: a settings file that explains itself."""

from __future__ import annotations

import click

from cairn.commands import Chosen, as_json
from cairn.console import Console, printable
from cairn.errors import UsageProblem


@click.command("init")
@as_json
@click.pass_obj
def command(chosen: Chosen, as_json: bool) -> None:
    """Write a commented settings file.

    It is cairn.toml at the project's root; the folder .cairn/ for Cairn's own state is made too. Checks are proposed
    from what the project has: pytest, tox, nox, npm scripts, make and just targets, cargo, go, ruff, mypy and others.
    """
    from cairn.check_proposals import as_toml, proposals
    from cairn.project import Project
    from cairn.settings import PROJECT_FILE, commented_file

    console = Console(as_json=as_json)
    project = Project.find(chosen.path, exact=chosen.here)
    path = project.root / PROJECT_FILE
    project.prepare()
    proposed = proposals(project.root)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented_file() + (as_toml(proposed) if proposed else ""))
    except FileExistsError:
        raise UsageProblem(f"{path} exists already; it was left as it is.", fix="Edit it, or move it away.") from None
    if as_json:
        checks = {each.name: each.command for each in proposed}
        console.json({"settings": str(path), "state": str(project.state), "checks": checks})
    console.write(f"Wrote {path}: every setting, explained, at its default.")
    for each in proposed:
        console.write(f"Proposed a check: {each.name} = {each.command} (from {printable(each.because)})")
    console.note('cairn run "add docstrings"   starts a first task; cairn doctor   says what is missing.')
