"""The git remote through which a task's commit reaches other machines: pushed there by its user, fetched by workers.

Nothing but refs below refs/cairn is written there. Reaching it is left to the user's own git: its addresses, its keys,
its credential helpers. Nobody is asked for a password, and each try ends.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from cairn.errors import CairnError, NotFound, UsageProblem
from cairn.git_process import GitLate, GitRefused, Halt, git, line, problem
from cairn.task_base import REFS, Base

SECONDS = 300.0
_ADDRESS = re.compile(r"[^/]*:|\.{0,2}/")  # a URL, ssh's HOST:PATH, or a path; all else is a remote's name
_TO_THE_REMOTE = re.compile(r"(\b(?:https?|ftps?)://)[^/@\s]*(?:@[^/@\s]*)*@")
_CONNECT_SECONDS = 15
_STALLED = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60")
_AT_ONCE = ("cannot lock ref", "reference already exists")  # another process pushes the same
_PAUSES = (0.05, 0.2, 0.5, 1.0)
_SETTING = 'Set engine.remote to the name of a git remote, a URL or a path: CAIRN_ENGINE_REMOTE="..."'


def publish(root: Path, base: Base, remote: str, *, seconds: float = SECONDS) -> None:
    """Has the remote keep the commit; does nothing when it does already. `remote` is a git remote's name or an address.

    The user's pre-push hook is not run: it is about branches, and may take minutes or ask. Raises CairnError.
    """
    options = ("--quiet", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no")
    # The name of the commit at the left, so that a ref that somebody deleted meanwhile does not matter.
    push = ("push", *options, "--", _named(root, remote), f"{base.commit}:{base.ref}")
    try:
        for pause in (*_PAUSES, None):
            try:
                _reach(root, seconds, *push)
            except GitRefused as refused:
                if pause is None or not any(sign in refused.told for sign in _AT_ONCE):
                    raise
                time.sleep(pause)
            else:
                return
    except GitRefused as refused:
        raise _not_reached(f"The files of this project could not be pushed to {shown(remote)!r}.", refused) from None


def prune_remote(root: Path, remote: str, drop: Collection[Base], *, seconds: float = SECONDS) -> int:
    """Deletes there what was kept for these; gives how many were there. Raises CairnError.

    Each only as it was seen: the remote compares.
    """
    wanted = {base.ref for base in drop}
    try:
        there = _kept(root, remote, wanted, seconds)
        if there:
            options = ("--quiet", "--no-verify", "--no-signed", "--recurse-submodules=no")
            leases = (f"--force-with-lease={ref}:{found}" for ref, found in there.items())
            deletes = (f":{ref}" for ref in there)
            try:
                _reach(root, seconds, "push", *options, *leases, "--", _named(root, remote), *deletes)
            except GitRefused:
                if _kept(root, remote, wanted, seconds):  # else another process deleted them meanwhile
                    raise
    except GitRefused as refused:
        raise _not_reached(f"What {shown(remote)!r} keeps of tasks could not be deleted.", refused) from None
    return len(there)


def _kept(root: Path, remote: str, wanted: Collection[str], seconds: float) -> dict[str, str]:
    """Those of the refs that are there, with what they name."""
    listed = line(_reach(root, seconds, "ls-remote", "--refs", "--", _named(root, remote), f"{REFS}/*"))
    every = (each.partition("\t") for each in listed.split("\n"))
    return {ref: found for found, _, ref in sorted(every) if ref in wanted}


def fetch(mirror: Path, base: Base, address: str, *, seconds: float = SECONDS, halt: Halt | None = None) -> None:
    """Brings a commit and all before it into a repository that no one works in; no ref is written.

    It is asked for by its ref, so that the remote need not allow others. Raises NotFound and CairnError.
    """
    options = ("--quiet", "--no-tags", "--recurse-submodules=no")
    try:
        _reach(mirror, seconds, "fetch", *options, "--", _address(address), base.ref, halt=halt)
    except GitRefused as refused:
        if "couldn't find remote ref" in refused.told:
            raise NotFound(
                f"The remote {shown(address)} has no commit {base.commit[:12]} for tasks.",
                f"It would be kept there as {base.ref}; it was deleted, or never pushed.",
                "cairn retry ID   has the task done again from the files as they are now.",
            ) from None
        raise _not_reached(f"The files of a task could not be fetched from {shown(address)}.", refused) from None


def remote_address(root: Path, remote: str) -> str:
    """Where a remote is, for a process that stands elsewhere: its URL, or a whole path. Raises UsageProblem."""
    try:
        found = line(git(root, "remote", "get-url", "--", remote))
    except GitRefused:
        found = _named(root, remote)
    path = Path(found).expanduser()
    if _is_address(found) and (found.startswith(("/", ".")) or path.is_absolute()):
        return str((root / path).resolve())
    if not _is_address(found) and (root / path).is_dir():
        return str((root / path).resolve())  # git allows a remote's URL to be a plain folder's name
    return found


def shown(address: str) -> str:
    """The address for people, without what it says to the remote alone: a name and a password, or a token."""
    return _TO_THE_REMOTE.sub(r"\1***@", address)


def _named(root: Path, remote: str) -> str:
    """What git shall be given: an address, or a name that it knows here."""
    if _is_address(remote):
        return _address(remote)
    try:
        known = line(git(root, "remote")).split("\n")
    except GitRefused as refused:
        raise problem(f"git does not work in {root}.", refused) from None
    if remote not in known:
        raise UsageProblem(
            f"This repository has no remote {remote!r}, through which other machines could get its files.",
            fix=(f"git remote add {remote or 'origin'} URL   adds one.", _SETTING),
        )
    return remote


def _address(address: str) -> str:
    if not _is_address(address):
        raise UsageProblem(f"{address!r} is no address of a git remote, only a name.", fix=_SETTING)
    return str(Path(address).expanduser()) if address.startswith("~") else address


def _is_address(text: str) -> bool:
    return bool(_ADDRESS.match(text)) or text.startswith("~/")


def _reach(folder: Path, seconds: float, *arguments: str, halt: Halt | None = None) -> bytes:
    variables = {}
    own = any(name in os.environ for name in ("GIT_SSH_COMMAND", "GIT_SSH"))
    if not own and not _setting(folder, "core.sshCommand"):
        variables["GIT_SSH_COMMAND"] = f"ssh -o BatchMode=yes -o ConnectTimeout={_CONNECT_SECONDS}"
    return git(folder, *arguments, variables=variables, settings=_STALLED, seconds=seconds, halt=halt)


def _setting(folder: Path, name: str) -> str:
    try:
        return line(git(folder, "config", "--get", name))
    except GitRefused:
        return ""


def _not_reached(what: str, refused: GitRefused) -> CairnError:
    if isinstance(refused, GitLate):
        return CairnError(what, f"{refused.told}.", ("Is it reached from here?", _SETTING))
    return problem(what, refused, ("git ls-remote REMOTE   shows whether it is reached from here.", _SETTING))
