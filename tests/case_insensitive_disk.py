"""A folder that ignores the case of names, as disks of macOS and Windows do: at the system calls, for one process.

A name that exists keeps the spelling it was made with, and is found under any other. A rename may change the spelling.
"""

# ruff: noqa: PTH109, PTH118, PTH119, PTH120 - it stands in for the calls that pathlib is made of

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cairn import atomic_rename

_ONE_PATH = ("stat", "lstat", "open", "unlink", "rmdir", "mkdir", "readlink", "chmod", "utime")
_TWO_PATHS = ("rename", "replace", "link")
_listdir, _readlink = os.listdir, os.readlink


class CaseInsensitiveDisk:
    """Everything below `root`; nothing else is touched."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = os.path.realpath(root)
        for name in _ONE_PATH:
            monkeypatch.setattr(os, name, self._one_path(getattr(os, name)))
        for name in _TWO_PATHS:
            monkeypatch.setattr(os, name, self._two_paths(getattr(os, name)))
        monkeypatch.setattr(os, "symlink", self._symlink(os.symlink))
        monkeypatch.setattr(atomic_rename, "renameat2", self._renameat2(atomic_rename.renameat2))

    def spelled(self, path, folder=None):
        """The path as the disk has it, absolute; as it is when it lies elsewhere."""
        if isinstance(path, int):
            return path, folder
        name = os.fsdecode(path)
        whole = name if folder is None else os.path.join(_readlink(f"/proc/self/fd/{folder}"), name)
        whole = os.path.join(os.getcwd(), whole)
        if not whole.startswith(f"{self._root}/"):
            return path, folder
        found = self._root
        for part in whole[len(self._root) + 1 :].split("/"):
            found = f"{found}/{self._listed(found, part)}"
        return found, None

    @staticmethod
    def _listed(folder, name):
        try:
            names = _listdir(folder)
        except OSError:
            return name
        return name if name in names else next((each for each in names if each.lower() == name.lower()), name)

    def _one_path(self, real):
        def call(path, *rest, dir_fd=None, **options):
            path, dir_fd = self.spelled(path, dir_fd)
            return real(path, *rest, **({} if dir_fd is None else {"dir_fd": dir_fd}), **options)

        return call

    def _two_paths(self, real):
        def call(old, new, *, src_dir_fd=None, dst_dir_fd=None, **options):
            source, src_dir_fd = self.spelled(old, src_dir_fd)
            target, dst_dir_fd = self._target(source, new, dst_dir_fd)
            return real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)

        return call

    def _target(self, source, new, folder):
        """The same file in a new spelling gets that; another one keeps its own."""
        target, folder = self.spelled(new, folder)
        if target == source and folder is None:
            return os.path.join(os.path.dirname(target), os.path.basename(os.fsdecode(new))), None
        return target, folder

    def _symlink(self, real):
        def call(leads_to, path, *, dir_fd=None, **options):
            path, dir_fd = self.spelled(path, dir_fd)
            return real(leads_to, path, dir_fd=dir_fd, **options)

        return call

    def _renameat2(self, real):
        def call(old_folder, old, new_folder, new, flags):
            source, _ = self.spelled(old, old_folder)
            target, _ = self.spelled(new, new_folder)
            return real(old_folder, os.fsencode(source), new_folder, os.fsencode(target), flags)

        return call
