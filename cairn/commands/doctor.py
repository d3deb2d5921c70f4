"""`cairn doctor`: what is missing here, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cairn.commands import Chosen, as_json
from cairn.console import Console, printable

if TYPE_CHECKING:
    from cairn.finding import Finding
    from cairn.project import Project


@click.command("doctor")
@click.option(
    "--repair", is_flag=True, help="Move damaged files of Cairn's aside; build the ledger from what is whole."
)
@as_json
@click.pass_obj
def command(chosen: Chosen, repair: bool, as_json: bool) -> int:
    """Say what is missing here and how to mend it.

    Exit code 1 when something keeps tasks from running.
    """
    from cairn.checkup import examine
    from cairn.finding import State
    from cairn.project import Project

    console = Console(as_json=as_json)
    project = Project.find(chosen.path, exact=chosen.here)
    if repair:
        _repair(chosen, project, console)
    findings = tuple(examine(project, chosen.settings(project.root)))
    if as_json:
        console.json({"findings": [asdict(finding) for finding in findings]})
    for finding in findings:
        console.write(_line(finding, console))
    return 1 if any(finding.state is State.BROKEN for finding in findings) else 0


def _line(finding: Finding, console: Console) -> str:
    colour = {"ok": "green", "note": "yellow", "broken": "red"}[finding.state]
    line = f"{console.style(f'{finding.state:6}', colour)}  {finding.part:8}  {printable(finding.detail)}"
    return line + (f"\n                  {printable(finding.fix)}" if finding.fix else "")


def _repair(chosen: Chosen, project: Project, console: Console) -> None:
    from cairn.checkup import damaged_files
    from cairn.orchestrator import Orchestrator
    from cairn.sqlite_file import set_aside

    project.prepare()
    for path in damaged_files(project):
        console.note(f"cairn: moved {path.name} aside, to {set_aside(path).relative_to(project.state.parent)}")
    with Orchestrator.open(project, chosen.settings(project.root)) as orchestrator:
        restored = orchestrator.recovery.rebuild_ledger()
        orchestrator.recovery.recover()
    console.note(f"cairn: {len(restored)} tasks were put back into the ledger.")
