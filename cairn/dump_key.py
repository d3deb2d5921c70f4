"""The user's own key, which seals dumps. It lies outside of every project, so that no project can bring one along."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

KEY_BYTES = 32
NAME = "dump.key"


def state_folder(environ: Mapping[str, str]) -> Path:
    """$XDG_STATE_HOME/cairn; a relative path there is not used, as the XDG specification has it."""
    home = environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        home = f"{environ.get('HOME') or Path.home()}/.local/state"
    return Path(home, "cairn")


def dump_key(environ: Mapping[str, str] = os.environ) -> bytes:
    """The key, made on first need. Where none can be kept, one that ends with this process: so do its dumps then."""
    return _key(state_folder(environ) / NAME)


@cache
def _key(path: Path) -> bytes:
    try:
        return _kept(path) or _made(path)
    except OSError:
        return secrets.token_bytes(KEY_BYTES)


def _kept(path: Path) -> bytes | None:
    """None for none, and for one that others may have read or written."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(found, "rb") as file:
        status = os.fstat(file.fileno())
        mine = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
        key = file.read(KEY_BYTES + 1)
    return key if mine and len(key) == KEY_BYTES else None


def _made(path: Path) -> bytes:
    """Written beside and linked into place, so that two processes agree on one; one that is no good is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
        if _kept(path) is None:
            draft.replace(path)
        key = _kept(path)
    finally:
        draft.unlink(missing_ok=True)
    if key is None:
        raise OSError(f"{path} cannot be kept")
    return key
