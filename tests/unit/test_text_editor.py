"""Which editor is opened, by git's rules, and what comes back from it."""

from __future__ import annotations

import subprocess

import pytest

from cairn.text_editor import command, edited


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("GIT_EDITOR", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_editor_is_the_one_that_git_would_open(tmp_path, monkeypatch, nobodys_home):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name, value in (("EDITOR", "ed"), ("VISUAL", "vis --wait")):
        monkeypatch.setenv(name, value)
        assert command(tmp_path) == value
    monkeypatch.setenv("TERM", "dumb")
    assert command(tmp_path) == "ed"
    subprocess.run(["git", "config", "core.editor", "configured"], cwd=tmp_path, check=True)
    assert command(tmp_path) == "configured"
    monkeypatch.setenv("GIT_EDITOR", "first")
    assert command(tmp_path) == "first"


def test_without_git_the_rules_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(tmp_path) == "vi"
    for name in ("EDITOR", "VISUAL", "GIT_EDITOR"):
        monkeypatch.setenv(name, name)
        assert command(tmp_path) == name
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("GIT_EDITOR")
    assert command(tmp_path) == "EDITOR"
    monkeypatch.delenv("EDITOR")
    with pytest.raises(ValueError, match="dumb"):
        command(tmp_path)


def test_what_the_editor_leaves_comes_back_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITOR", program(tmp_path / "own", 'printf "\\351\\r\\n" >> "$1"'))
    assert edited(b"caf\xe9", tmp_path) == b"caf\xe9\xe9\r\n"

    monkeypatch.setenv("EDITOR", f"{program(tmp_path / 'two words', 'cat >> $2')} --wait")
    assert "two words" in command(tmp_path)


def test_an_editor_of_several_words_is_the_shells_to_read(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITOR", f"'{program(tmp_path / 'with space', 'echo $1 >> $2')}' --wait")

    assert edited(b"a\n", tmp_path) == b"a\n--wait\n"


def test_an_editor_that_fails_or_is_not_there_is_told_and_no_file_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("EDITOR", "false")
    with pytest.raises(ValueError, match="The editor 'false' ended with exit code 1"):
        edited(b"a", tmp_path)
    monkeypatch.setenv("EDITOR", "/nowhere/editor")
    with pytest.raises(OSError, match="nowhere"):
        edited(b"a", tmp_path)

    assert list(tmp_path.iterdir()) == []
