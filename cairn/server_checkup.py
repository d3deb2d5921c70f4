"""What `cairn doctor` finds of a server's ledger: whether it answers, fits this Cairn and this role, and who works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cairn.errors import CairnError
from cairn.finding import Finding, State
from cairn.ledger_place import LedgerServer
from cairn.ledger_schema import VERSION

if TYPE_CHECKING:
    from cairn.postgres_look import ServerLook

CLOCK_SECONDS = 2.0  # further apart, and times look odd to people
_NAMES_SHOWN = 4


def server_findings(place: LedgerServer) -> tuple[tuple[Finding, ...], bool]:
    """The ledger, and the clock; and whether there is a ledger that this Cairn and this role may use."""
    from cairn.postgres_look import look

    try:
        found = look(place)
    except CairnError as error:
        told = " ".join(part for part in (error.what, error.why) if part)
        return (Finding("ledger", State.BROKEN, told, error.fix[0] if error.fix else ""),), False
    clock = tuple(_clock(found))
    wrong = _wrong(place, found)
    if wrong is not None:
        return (wrong, *clock), False
    if found.owner is None:
        none = Finding("ledger", State.OK, f"there is none of {place} yet; the first command makes it")
        return (none, *clock), False
    state = f"Postgres {found.major}, format {found.layout}, role '{found.role}'"
    return (Finding("ledger", State.OK, f"of {place}: {state}; {_crews(place)}"), *clock), True


def _wrong(place: LedgerServer, found: ServerLook) -> Finding | None:
    if found.owner is None and not found.may_make:
        fix = f'GRANT CREATE ON DATABASE "{found.database}" TO "{found.role}"   said there by its owner allows it.'
        detail = f"there is none of {place} yet, and the role '{found.role}' may not make one"
        return Finding("ledger", State.BROKEN, detail, fix)
    if found.owner is None:
        return None
    if found.lacking:
        shown = ", ".join(found.lacking[:_NAMES_SHOWN])
        more = len(found.lacking) - _NAMES_SHOWN
        detail = f"the role '{found.role}' may not use {shown}{f' and {more} more' if more > 0 else ''} of {place}"
        grants = (
            f'GRANT USAGE ON SCHEMA "{place.schema}" TO "{found.role}"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL'
            f' TABLES IN SCHEMA "{place.schema}" TO "{found.role}"; GRANT USAGE ON ALL SEQUENCES IN SCHEMA'
            f' "{place.schema}" TO "{found.role}"   said by \'{found.owner}\' allows it.'
        )
        return Finding("ledger", State.BROKEN, detail, grants)
    return _misfit(place, found)


def _misfit(place: LedgerServer, found: ServerLook) -> Finding | None:
    if found.layout is None or found.oldest is None:
        detail = f"{place} has a schema, and no ledger that can be read in it"
        return Finding("ledger", State.BROKEN, detail, "Restore it from a backup.")
    if found.oldest > VERSION:
        detail = f"{place} is a newer Cairn's (format {found.layout}, this one knows {VERSION})"
        return Finding("ledger", State.BROKEN, detail, "pip install --upgrade 'cairn[scale]'")
    if found.layout < VERSION:
        detail = f"{place} is in format {found.layout}, and this Cairn needs {VERSION}"
        if found.owns:
            return Finding("ledger", State.NOTE, detail, "cairn list   brings it up to date, as any command does.")
        fix = f"cairn list   run once as '{found.owner}' with this version of Cairn brings it up to date."
        return Finding("ledger", State.BROKEN, detail, fix)
    return None


def _clock(found: ServerLook) -> Iterator[Finding]:
    """Leases and delays go by the server's, so that no task is hurt."""
    if abs(found.clock_ahead) > CLOCK_SECONDS:
        which = "ahead of" if found.clock_ahead > 0 else "behind"
        detail = f"this machine's is {abs(found.clock_ahead):,.0f} s {which} the server's, which tasks go by"
        fix = "Set this machine's clock (timedatectl set-ntp true), or the server's if that one is wrong."
        yield Finding("clock", State.NOTE, detail, fix)


def _crews(place: LedgerServer) -> str:
    from cairn.fleet import Fleet

    try:
        with Fleet(place) as fleet:
            now = fleet.now()
            there = [crew for crew in fleet.crews() if crew.is_there(now)]
    except CairnError:
        return "who works is not known"
    workers = sum(crew.size for crew in there)
    crews = f"{len(there)} crew{'' if len(there) == 1 else 's'} with {workers} worker{'' if workers == 1 else 's'}"
    return f"{crews} there" if there else "nobody works now (cairn work --forever)"
