"""What a project is called on a server that many machines share: the same in each clone of a repository.

Where nothing is set it is made of the repository's first commit, which all clones have, and of the folder that the
project is in it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cairn.errors import UsageProblem
from cairn.git_process import GitRefused, git, line, problem
from cairn.git_snapshot import no_repository
from cairn.ledger_place import PROJECT_NAME

FILE = "project-name"  # in the state folder
_DIGITS = 12
_SET_IT = 'CAIRN_ENGINE_PROJECT="some-name"   or engine.project in the settings names it.'


def project_name(root: Path, state: Path, given: str | None) -> str:
    """The setting `engine.project`, else 12 digits of the first commit's name, kept in `state` once they are known.

    Raises UsageProblem where it has to be set: no repository, no commit yet, a shallow clone.
    """
    if given:
        if not PROJECT_NAME.fullmatch(given):
            raise UsageProblem(
                f"{given!r} cannot be a project's name.",
                "It has 1 to 48 small letters a-z, digits, _ and -, and begins with a letter or digit.",
                _SET_IT,
            )
        return given
    kept = _kept(state / FILE)
    if kept is None:
        kept = _of_first_commit(root)
        _keep(state / FILE, kept)
    return kept


def _of_first_commit(root: Path) -> str:
    try:
        prefix = git(root, "rev-parse", "--show-prefix").removesuffix(b"\n").removesuffix(b"/")
    except GitRefused as refused:
        if "not a git repository" in refused.told:
            raise UsageProblem(
                f"{root} is in no git repository, whose first commit would give the project its name on the server.",
                fix=(
                    'For a worker: CAIRN_ENGINE_PROJECT="name" CAIRN_ENGINE_REMOTE="URL"   are what it has to be told.',
                    "For a project of yours: git init   and a first commit.",
                ),
            ) from None
        raise no_repository(root, refused) from None
    try:
        if line(git(root, "rev-parse", "--is-shallow-repository")) == "true":
            raise UsageProblem(
                "This clone is shallow, so its first commit, which would give the project its name, is not known.",
                fix=(_SET_IT, "git fetch --unshallow   gets the rest."),
            )
        # Unrelated histories that were merged have several: the oldest is the one that a younger clone has too.
        listed = line(git(root, "rev-list", "--max-parents=0", "--format=%ct %H", "HEAD", "--")).split("\n")
    except GitRefused as refused:
        if "HEAD" in refused.told or "bad revision" in refused.told:
            raise UsageProblem(
                "This repository has no commit yet, which would give the project its name.", fix=_SET_IT
            ) from None
        raise problem(f"git cannot tell the first commit of {root}.", refused) from None
    first = min((int(seconds), commit) for seconds, _, commit in (each.partition(" ") for each in listed[1::2]))[1]
    if not prefix:
        return first[:_DIGITS]
    return hashlib.sha1(first.encode() + b":" + prefix, usedforsecurity=False).hexdigest()[:_DIGITS]


def _kept(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return text if PROJECT_NAME.fullmatch(text) else None


def _keep(path: Path, name: str) -> None:
    """As a whole or not at all; without a folder for it, it is asked for again next time."""
    if path.parent.is_dir():
        waiting = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        waiting.write_text(f"{name}\n", encoding="ascii")
        waiting.replace(path)
