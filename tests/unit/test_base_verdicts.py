"""What a check comes to without any task is found once for all who ask at the same time, and not for ever."""

from __future__ import annotations

import asyncio
import os

import pytest

from cairn.base_verdicts import KEPT_SECONDS, BaseVerdicts
from cairn.checks import Before


class Finder:
    def __init__(self, *verdicts):
        self.verdicts, self.asked = list(verdicts), 0

    async def __call__(self):
        self.asked += 1
        await asyncio.sleep(0.02)
        return self.verdicts.pop(0)


async def test_many_who_ask_at_once_find_out_once(tmp_path):
    find = Finder(Before.FAILED)
    several = [BaseVerdicts(tmp_path / "checks") for _ in range(5)]
    found = await asyncio.gather(*(each.known("key", find) for each in several))
    assert (found, find.asked) == ([Before.FAILED] * 5, 1)


async def test_it_is_found_anew_when_asked_to_when_it_is_old_and_under_another_key(tmp_path):
    find, known = Finder(Before.FAILED, Before.PASSED, Before.FAILED, Before.PASSED), BaseVerdicts(tmp_path / "checks")
    assert [await known.known("key", find) for _ in range(2)] == [Before.FAILED] * 2
    assert await known.known("key", find, anew=True) is Before.PASSED
    assert await known.known("key", find) is Before.PASSED
    assert await known.known("other", find) is Before.FAILED
    old = (tmp_path / "checks/key").stat().st_mtime - KEPT_SECONDS - 1
    os.utime(tmp_path / "checks/key", (old, old))
    assert await known.known("key", find) is Before.PASSED
    assert find.asked == 4


async def test_what_is_unknown_damaged_or_old_is_not_kept(tmp_path):
    find, known = Finder(Before.UNKNOWN, Before.FAILED, Before.PASSED), BaseVerdicts(tmp_path / "checks")
    assert await known.known("key", find) is Before.UNKNOWN
    assert await known.known("key", find) is Before.FAILED
    (tmp_path / "checks/key").write_bytes(b"\xff nonsense")
    assert await known.known("key", find) is Before.PASSED
    os.utime(tmp_path / "checks/key", (1, 1))
    await known.known("other", Finder(Before.PASSED))
    assert [each.name for each in (tmp_path / "checks").iterdir()] == ["other"]


async def test_who_is_cancelled_lets_go_and_the_next_one_finds_out(tmp_path):
    known = BaseVerdicts(tmp_path / "checks")
    first = asyncio.ensure_future(known.known("key", asyncio.Event().wait))
    second = asyncio.ensure_future(known.known("key", Finder(Before.PASSED)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert await second is Before.PASSED
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_where_nothing_can_be_kept_each_finds_out(tmp_path):
    (tmp_path / "file").write_text("x")
    find = Finder(Before.PASSED, Before.PASSED)
    assert [await BaseVerdicts(tmp_path / "file").known("key", find) for _ in range(2)] == [Before.PASSED] * 2
    assert find.asked == 2
