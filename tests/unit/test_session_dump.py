from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cairn.program import Limits
from cairn.program_output import KeptOutput
from cairn.session_dump import (
    Conditions,
    DumpRefused,
    KeptFile,
    KeptRun,
    KeptSession,
    KeptSource,
    MemoryDumps,
    seal,
    unseal,
)

KEY = b"k" * 32
IMAGE = b"MONTY\0\x0e\0" + bytes(range(256)) * 20
CONDITIONS = Conditions("def f() -> None: ...", Limits(), datetime(2026, 1, 1, tzinfo=UTC), 7)
RUN = KeptRun(
    step=3,
    function="ask_llm",
    calls=4,
    seconds=1.5,
    sandbox_seconds=0.25,
    output=KeptOutput("ä\n", "end", 900),
    files=(KeptFile("a/b.txt", b"\x00\xff", False), KeptFile("c.txt", b"", True)),
)
SESSION = KeptSession(
    gate="cairn_gate_x",
    checked="x = 1",
    names=("a", "b"),
    sources=(KeptSource("<python-input-1>", 1, "a = '€'\n"),),
    feeds=5,
    calls_left=10,
    suspensions_left=20,
    seconds_left=1.5,
    run=RUN,
)


@pytest.mark.parametrize("session", [SESSION, replace(SESSION, run=None)])
def test_what_was_sealed_comes_out_as_it_was(session):
    sealed = seal(session, IMAGE, CONDITIONS, KEY, step=3, call=12)

    assert unseal(sealed, CONDITIONS, KEY) == (session, IMAGE)
    assert (sealed.step, sealed.call, sealed.version.rpartition(", ")[0]) == (
        3,
        12,
        "cairn 2, monty 1.4.0, format 14",
    )
    assert len(sealed.data) < len(IMAGE)


ALTERED = {
    "a bit of the data": lambda sealed: replace(sealed, data=sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])),
    "data cut off": lambda sealed: replace(sealed, data=sealed.data[:-10]),
    "no data": lambda sealed: replace(sealed, data=b""),
    "the version": lambda sealed: replace(sealed, version=sealed.version + " "),
    "the step": lambda sealed: replace(sealed, step=sealed.step + 1),
    "the call": lambda sealed: replace(sealed, call=sealed.call - 1),
    "step and call run together": lambda sealed: replace(sealed, step=31, call=2),
    "the seal": lambda sealed: replace(sealed, mac="ä" * 64),
    "no seal": lambda sealed: replace(sealed, mac=""),
}


@pytest.mark.parametrize("what", ALTERED)
def test_one_that_was_altered_is_refused(what):
    sealed = seal(SESSION, IMAGE, CONDITIONS, KEY, step=3, call=12)
    with pytest.raises(DumpRefused, match="altered"):
        unseal(ALTERED[what](sealed), CONDITIONS, KEY)


def test_one_that_another_user_sealed_is_refused():
    sealed = seal(SESSION, IMAGE, CONDITIONS, b"x" * 32, step=3, call=12)
    with pytest.raises(DumpRefused, match="somebody else"):
        unseal(sealed, CONDITIONS, KEY)


OTHERS = {
    "functions": replace(CONDITIONS, stubs=""),
    "limits": replace(CONDITIONS, limits=Limits(seconds=61)),
    "clock": replace(CONDITIONS, now=datetime(2026, 1, 2, tzinfo=UTC)),
    "seed": replace(CONDITIONS, seed=8),
}


@pytest.mark.parametrize("what", OTHERS)
def test_one_of_other_conditions_is_refused(what):
    sealed = seal(SESSION, IMAGE, CONDITIONS, KEY, step=3, call=12)
    with pytest.raises(DumpRefused, match="another version, or under other limits or functions"):
        unseal(sealed, OTHERS[what], KEY)


def test_one_of_another_monty_or_another_layout_is_refused(monkeypatch):
    sealed = seal(SESSION, IMAGE, CONDITIONS, KEY, step=3, call=12)
    monkeypatch.setattr("pydantic_monty.__version__", "1.4.1")
    with pytest.raises(DumpRefused, match="another version"):
        unseal(sealed, CONDITIONS, KEY)
    monkeypatch.undo()
    monkeypatch.setattr("cairn.session_dump.LAYOUT", 9)
    with pytest.raises(DumpRefused, match="another version"):
        unseal(sealed, CONDITIONS, KEY)


def test_what_is_no_dump_of_the_sandbox_is_not_sealed():
    with pytest.raises(DumpRefused, match="no dump of the sandbox"):
        seal(SESSION, b"PK\x03\x04", CONDITIONS, KEY, step=0, call=0)


def test_memory_holds_the_last_one():
    dumps = MemoryDumps()
    first, second = (seal(SESSION, IMAGE, CONDITIONS, KEY, step=n, call=n) for n in (1, 2))

    assert dumps.get(1) is None
    dumps.put(first)
    key = dumps.put(second)
    assert (dumps.get(key), dumps.last_call()) == (second, 0)
    dumps.delete(key)
    dumps.delete(key)
    assert dumps.get(key) is None
