from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cairn.dump_key import NAME, dump_key, state_folder


@pytest.fixture
def home(tmp_path):
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state/cairn" / NAME


def in_another_process(home) -> bytes:
    code = f"import sys; from cairn.dump_key import dump_key; sys.stdout.buffer.write(dump_key({home!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout


def test_it_is_made_once_and_only_its_user_may_read_it(home, path):
    key = dump_key(home)

    assert (len(key), path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (32, key, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [NAME]
    assert in_another_process(home) == key


def test_one_that_others_could_read_is_replaced(home, path):
    key = in_another_process(home)
    path.chmod(0o644)
    new = in_another_process(home)

    assert new != key
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (new, 0o600)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_one_of_a_wrong_length_is_replaced(home, path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.chmod(0o600)

    assert dump_key(home) == path.read_bytes() != content


def test_a_link_that_leads_elsewhere_is_not_followed(home, path, tmp_path):
    path.parent.mkdir(parents=True)
    (tmp_path / "planted").write_bytes(b"p" * 32)
    (tmp_path / "planted").chmod(0o600)
    path.symlink_to(tmp_path / "planted")

    key = dump_key(home)
    assert key != b"p" * 32
    assert in_another_process(home) != b"p" * 32


def test_where_none_can_be_kept_it_lasts_as_long_as_the_process(tmp_path):
    (tmp_path / "file").write_text("")
    home = {"XDG_STATE_HOME": str(tmp_path / "file")}

    assert dump_key(home) == dump_key(home)
    assert in_another_process(home) != dump_key(home)


def test_processes_that_start_together_agree(home):
    code = f"import sys; from cairn.dump_key import dump_key; sys.stdout.buffer.write(dump_key({home!r}))"
    several = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(6)]

    assert len({process.communicate()[0] for process in several}) == 1


def test_it_lies_where_xdg_says():
    assert state_folder({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/cairn")
    assert state_folder({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/cairn")
    assert state_folder({"HOME": "/h"}) == Path("/h/.local/state/cairn")
