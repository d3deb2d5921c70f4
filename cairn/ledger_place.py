"""Where a ledger is: in a file beside the project, or on a server that many machines share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from cairn.errors import UsageProblem

SCHEMES = ("postgresql", "postgres")
PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """One SQLite file, for the processes of one machine.

    `as_it_is`: it is looked at as it stands at one moment, also where nothing can be written. `prepare` makes its
    folder, and where it is given the file is not made before something is written to it.
    """

    path: Path
    as_it_is: bool = False
    prepare: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class LedgerServer:
    """A schema of its own for `project` in a Postgres database. Raises UsageProblem for what cannot be one.

    Neither `str` nor `repr` shows the URL's password.
    """

    url: str = field(repr=False)
    project: str

    def __post_init__(self) -> None:
        if not PROJECT_NAME.fullmatch(self.project):
            raise UsageProblem(
                f"'{self.project}' cannot be a project's name on a server.",
                "It has up to 48 small letters, digits, - and _, and begins with a letter or digit.",
                "Set engine.project, or CAIRN_ENGINE_PROJECT.",
            )
        if self.url.partition("://")[0] not in SCHEMES or "\0" in self.url:
            raise UsageProblem(
                "engine.url is no address of a Postgres server.",
                "It looks like postgresql://USER@HOST/DATABASE.",
                "Set engine.url in cairn/settings.toml in your own configuration folder, or CAIRN_ENGINE_URL.",
            )

    @property
    def schema(self) -> str:
        """The name of its schema, not quoted."""
        return f"cairn_{self.project}"

    def __str__(self) -> str:
        return f"project {self.project} on {self.without_secrets(shown_address(self.url))}"

    def without_secrets(self, text: str) -> str:
        """The text with each password of the URL put out of sight, as it stands there and as it is meant."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def _secrets(self) -> set[str]:
        address, _, query = self.url.partition("://")[2].partition("?")
        found = {address.rpartition("@")[0].partition(":")[2]}
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if "password" in unquote(name):
                found.add(value)
        return {each for raw in found for each in (raw, unquote(raw)) if each}


LedgerPlace = LedgerFile | LedgerServer


def shown_address(url: str) -> str:
    """A server's URL as messages show it: the user, the host and the database, and never the password."""
    try:
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        host = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
    except ValueError:
        return "a Postgres server"
    return f"postgresql://{user}{host}{parts.path}"


def place_of(ledger: Path | LedgerPlace) -> LedgerPlace:
    """A path is a file's."""
    return LedgerFile(ledger) if isinstance(ledger, Path) else ledger
