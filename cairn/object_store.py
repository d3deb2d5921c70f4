"""Large contents in a folder or a bucket that many machines reach; the only file that knows obstore.

Objects are made once and never changed. Addresses are those that obstore takes; so are the variables that name a
bucket's endpoint, region and keys (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, ...).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cairn.errors import DiskFull, NotFound, StorageProblem, UsageProblem

if TYPE_CHECKING:
    import obstore.store

_PATIENCE = timedelta(seconds=20)  # for a store that does not answer; longer than a moment's trouble
_TRANSFER = timedelta(minutes=10)
_FULL = f"os error {errno.ENOSPC}"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object. `modified` is seconds since the epoch, by the store's clock."""

    key: str
    size: int
    modified: float


class ObjectMissing(NotFound):
    """There is no object of that name."""


class ObjectStore:
    """Objects below one address. Every method raises StorageProblem when the store cannot serve it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._store = _opened(url)
        except ImportError:
            raise UsageProblem(
                "Large task files need the package obstore.", fix="pip install 'cairn[scale]'   brings it."
            ) from None
        except Exception as error:  # noqa: BLE001 - of an address that may be anything
            raise UsageProblem(
                f"engine.objects cannot be {url!r}.",
                f"{_first_line(error)}.",
                'It should be an address such as "s3://bucket/cairn" or "file:///srv/cairn".',
            ) from None

    def put(self, key: str, data: bytes) -> None:
        """Nothing happens if it is there: a key is made of what it holds."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._explained(), suppress(AlreadyExistsError):
            obstore.put(self._store, key, data, mode="create")

    def get(self, key: str) -> bytes:
        """The whole content. Raises ObjectMissing."""
        import obstore

        with self._explained():
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                raise ObjectMissing(f"There is no object {key} in {self.url}.") from None

    def delete(self, key: str) -> None:
        """Nothing happens if it is not there."""
        import obstore

        with self._explained(), suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def every(self, prefix: str) -> Iterator[StoredObject]:
        """All whose keys begin with these folders."""
        import obstore

        with self._explained():
            found = [each for chunk in obstore.list(self._store, prefix) for each in chunk]
        for each in found:
            yield StoredObject(each["path"], each["size"], each["last_modified"].timestamp())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if _FULL in str(error):
                raise DiskFull(f"There is no room left in {self.url}.", "What was stored before is there.") from error
            raise StorageProblem(
                f"{self.url}, where large task files lie, does not serve them.",
                f"{_first_line(error)}.",
                "Check the setting engine.objects, the keys in the environment, and that the store is reached.",
            ) from error


def open_objects(url: str | None) -> ObjectStore | None:
    """None where no address is set; then a task's file must be small enough for the database."""
    return ObjectStore(url) if url else None


def _opened(url: str) -> obstore.store.ObjectStore:
    from obstore.store import LocalStore, from_url

    if url.startswith("file:"):
        if urlsplit(url).netloc or not urlsplit(url).path.startswith("/"):
            raise ValueError("a folder is named by its whole path: file:///srv/cairn")
        return LocalStore.from_url(url, mkdir=True)
    return from_url(
        url,
        client_options={  # with any, obstore does not look at the variable for this one any more
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"true", "1"},
            "connect_timeout": timedelta(seconds=5),
            "timeout": _TRANSFER,
        },
        retry_config={"max_retries": 5, "retry_timeout": _PATIENCE},
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
