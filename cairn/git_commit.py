"""One git commit of accepted paths, nothing else in it: the only file that commits.

Whatever could make git refuse is looked at before anything is written. Only a hook, a signature or a full disk can
still fail afterwards; then the index is as it was.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cairn.changes import Content, EntryKind
from cairn.errors import CairnError, Conflict, UsageProblem
from cairn.git_repository import git_environment

TRAILER = "Cairn-Task"
OLDEST_GIT = (2, 25)  # the first that takes paths from a file
_SPARSE_GIT = (2, 34)  # the first that refuses files outside of a sparse checkout, unless it is told
WITHOUT = "cairn accept   without --commit leaves committing to you."

# The file or folder in git's own folder that says it is in the middle of something, and what that is.
_UNDER_WAY: Mapping[str, str] = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "sequencer": "a cherry-pick or revert of several commits",
    "index.lock": "another git command",
}
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GITLINK = "160000"
_NAMES_SHOWN = 8
_SUBJECT = 200
_TOLD_LINES = 20


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was made."""

    sha: str
    subject: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A path of git's index."""

    mode: str
    stage: str
    path: str


class PreparedCommit:
    """A commit that git will take as far as can be known before it is made."""

    def __init__(self, git: _Git, prefix: str, known: frozenset[str], message: str) -> None:
        self._git = git
        self._prefix = prefix
        self._known = known
        self._message = message

    def make(self, paths: Iterable[str]) -> Commit | None:
        """Commits these paths as they are on disk now, and only them; None when the last commit has them all so.

        Raises CairnError with what git or a hook said; the index is then as it was before.
        """
        wanted = sorted({self._prefix + path for path in paths})
        new = [path for path in wanted if path not in self._known and self._git.has_file(path)]
        try:
            self._git.feed(["add", "--intent-to-add", "--force", *self._git.sparse()], new)
            if not self._differ(wanted):
                self._restore(new)
                return None
            self._git.feed(
                ["commit", "--quiet", "--only", "--cleanup=whitespace", "--file", self._git.kept(self._message)],
                self._by_name(wanted, new),
            )
        except _Refused as refused:
            self._restore(new)
            raise CairnError("git did not commit.", refused.told) from None
        except BaseException:
            self._restore(new)
            raise
        finally:
            self._git.drop_kept()
        return Commit(self._git.text("rev-parse", "HEAD"), self.subject)

    def would_hold(self, contents: Mapping[str, Content | None]) -> tuple[str, ...]:
        """Which of these paths `make` would commit if such contents stood there; writes nothing. Sorted."""
        committed = self._git.committed() if self._git.has_commit() else {}
        bits = self._git.text("config", "--type=bool", "--default=true", "core.fileMode") == "true"
        differing = []
        for path, content in sorted(contents.items()):
            name = self._prefix + path
            had = committed.get(name)
            if content is None or content.kind is EntryKind.DIRECTORY:
                differing += [path] if had is not None else []
            elif had is None or had != self._git.entry(name, content, had[0] if not bits else None):
                differing.append(path)
        return tuple(differing)

    @property
    def subject(self) -> str:
        """The first line of its message."""
        return self._message.partition("\n")[0]

    def _by_name(self, wanted: Sequence[str], new: Sequence[str]) -> list[str]:
        """What git can be told to commit. A file that became a folder goes by itself with the first file in it."""
        named = []
        for path in wanted:
            if path in self._known and self._git.has_folder(path):
                if not any(each.startswith(f"{path}/") for each in new):
                    raise _Refused(f"{path} became a folder with no file in it, which git commit cannot take by name.")
            elif path in self._known or path in new:
                named.append(path)
        return named

    def _differ(self, wanted: Sequence[str]) -> bool:
        if not self._git.has_commit():
            return any(self._git.has_file(path) for path in wanted)
        options = ("--name-only", "--no-renames", "--no-ext-diff", "--ignore-submodules", "-z")
        changed = self._git.names("diff", *options, "HEAD", "--")
        return not changed.isdisjoint(wanted)

    def _restore(self, new: Sequence[str]) -> None:
        """Takes out of the index what only this commit put there, and puts back what it displaced."""
        displaced = self._known - self._git.names("ls-files", "--cached", "-z")
        back = [*new, *sorted(displaced)] if new else []
        try:
            self._git.feed(["reset", "--quiet"], back)
        except _Refused:  # the index still has empty entries for the new files, which harm nothing
            return


def prepare_commit(root: Path, paths: Iterable[str], message: str) -> PreparedCommit:
    """Writes nothing. Raises UsageProblem or Conflict, with the reason, when these paths could not be committed.

    `paths` are relative to `root`, which may be a folder within the repository.
    """
    git = _Git(root)
    prefix = git.enter()
    _require_nothing_under_way(git)
    _require_identity(git)
    entries = tuple(git.entries())
    wanted = frozenset(prefix + path for path in paths)
    _require_clean_index(git, entries, wanted)
    _require_names_of_their_own(git, wanted | {entry.path for entry in entries}, wanted)
    _require_this_repository(git, entries, wanted)
    known = frozenset(entry.path for entry in entries)
    ignored = git.ignored(sorted(wanted - known))
    if ignored:
        raise Conflict(
            f"git cannot commit this: {_named(ignored)} {_is(ignored)} ignored by its rules. Nothing was written.",
            fix=WITHOUT,
            paths=tuple(ignored),
        )
    return PreparedCommit(git, prefix, known, message)


def message_for(task_id: str, request: str, summary: str, given: str | None = None) -> str:
    """A task's commit message, its trailer last: what was given, else the summary's first line and the request."""
    trailer = f"{TRAILER}: {task_id}"
    if given is not None and given.strip():
        return _with_trailer(_plain(given), trailer)
    asked = _plain(request)
    subject = next(iter(_plain(summary).splitlines()), "") or next(iter(asked.splitlines()), "") or f"task {task_id}"
    subject = subject if len(subject) <= _SUBJECT else subject[: _SUBJECT - 3] + "..."
    return "\n\n".join([subject, *([asked] if asked and asked != subject else []), trailer]) + "\n"


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in _CONTROLS.sub("", text.replace("\r\n", "\n")).strip().split("\n"))


def _with_trailer(text: str, trailer: str) -> str:
    """Beside the trailers that the text ends with, if it does: git takes only the last paragraph's for trailers."""
    last = text.rpartition("\n\n")[2].split("\n")
    trailers = "\n\n" in text and all(re.match(r"[A-Za-z][A-Za-z0-9-]*: ", line) for line in last)
    return f"{text}\n{trailer}\n" if trailers else f"{text}\n\n{trailer}\n"


# -- what must hold before anything is written -------------------------------------------------------------------------


def _require_nothing_under_way(git: _Git) -> None:
    for name, path in zip(_UNDER_WAY, git.own_paths(_UNDER_WAY), strict=True):
        if path.exists():
            what = _UNDER_WAY[name]
            raise Conflict(
                f"git cannot commit only some files now: {what} is in progress. Nothing was written.",
                f"{path} says so.",
                ("Finish or abort that, then try again.", WITHOUT),
            )


def _require_identity(git: _Git) -> None:
    for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        try:
            git.text("var", who)
        except _Refused as refused:
            fix = ('git config user.name "..."   and   git config user.email "..."', WITHOUT)
            raise UsageProblem("git does not know who commits. Nothing was written.", refused.told, fix) from None


def _require_clean_index(git: _Git, entries: Sequence[_Entry], wanted: frozenset[str]) -> None:
    unmerged = sorted({entry.path for entry in entries if entry.stage != "0"})
    if unmerged:
        raise Conflict(
            f"git cannot commit: its index has conflicts in {_named(unmerged)}. Nothing was written.",
            fix=("git status   shows them; resolve them, then try again.", WITHOUT),
            paths=tuple(unmerged),
        )
    staged = sorted(git.staged(entries) & wanted)
    if staged:
        raise Conflict(
            f"You have staged changes in {_named(staged)}, which the commit would take in. Nothing was written.",
            fix=("git commit   or   git restore --staged PATH   first, then try again.", WITHOUT),
            paths=tuple(staged),
        )


def _require_names_of_their_own(git: _Git, every: Iterable[str], wanted: frozenset[str]) -> None:
    """Told to ignore case, git commits a rename that only changes the case under the old name, or not at all."""
    if git.text("config", "--type=bool", "--default=false", "core.ignoreCase") != "true":
        return
    folded: dict[str, list[str]] = {}
    for path in sorted(every):
        folded.setdefault(path.casefold(), []).append(path)
    for path in sorted(wanted):
        names = folded[path.casefold()]
        if len(names) > 1:
            raise Conflict(
                f"git takes {' and '.join(names)} for one name here (core.ignoreCase). Nothing was written.",
                "It cannot commit them by name.",
                ("Accept without --commit, then use git mv.",),
                paths=tuple(names),
            )


def _require_this_repository(git: _Git, entries: Sequence[_Entry], wanted: frozenset[str]) -> None:
    submodules = {entry.path for entry in entries if entry.mode == _GITLINK}
    for path in sorted(wanted):
        parts = path.split("/")
        for above in ("/".join(parts[:count]) for count in range(1, len(parts))):
            if above in submodules or git.has_repository(above):
                raise Conflict(
                    f"{path} belongs to another git repository, {above}. Nothing was written.",
                    "One commit cannot hold files of both.",
                    ("Accept without --commit, then commit in each.",),
                    paths=(path,),
                )


def _named(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_NAMES_SHOWN])
    return shown + (f" and {len(paths) - _NAMES_SHOWN} more" if len(paths) > _NAMES_SHOWN else "")


def _is(paths: Sequence[str]) -> str:
    return "is" if len(paths) == 1 else "are"


# -- git itself --------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """git ended with an error; `told` is the end of what it, or a hook, said."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.told = told


class _Git:
    """Runs git at the top of a working tree. Paths are whole names below it, never patterns."""

    def __init__(self, root: Path) -> None:
        self._top = root
        self._message: Path | None = None
        self._environment = git_environment()

    def enter(self) -> str:
        """Goes to the top of the repository; gives the way from there to where it began, "" or ending with "/"."""
        try:
            version = tuple(int(part) for part in re.findall(r"\d+", self.text("version"))[:2])
            if version < OLDEST_GIT:
                fix = ("Install a newer git.", WITHOUT)
                raise UsageProblem("git is too old for --commit. Nothing was written.", f"{self.text('version')}.", fix)
            top = self.text("rev-parse", "--show-toplevel")
            prefix = self.text("rev-parse", "--show-prefix")
        except _Refused as refused:
            what = f"{self._top} is in no git repository that can be committed to. Nothing was written."
            raise UsageProblem(what, refused.told, WITHOUT) from None
        except OSError as error:
            raise UsageProblem("git could not be run. Nothing was written.", f"{error.strerror}.", WITHOUT) from None
        self._top = Path(top)
        return prefix

    def sparse(self) -> list[str]:
        """What makes `git add` take a file outside of a sparse checkout; older versions of git always take it."""
        version = tuple(int(part) for part in re.findall(r"\d+", self.text("version"))[:2])
        sparse = self.text("config", "--type=bool", "--default=false", "core.sparseCheckout") == "true"
        return ["--sparse"] if sparse and version >= _SPARSE_GIT else []

    def own_paths(self, names: Iterable[str]) -> list[Path]:
        """Where git keeps these: a worktree's are not in `.git`."""
        return [self._top / self.text("rev-parse", "--git-path", name) for name in names]

    def entries(self) -> Iterator[_Entry]:
        """The whole index."""
        for line in self._run(["ls-files", "--stage", "-z"]).split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, stage = about.decode().split(" ")
            yield _Entry(mode, stage, os.fsdecode(path))

    def staged(self, entries: Sequence[_Entry]) -> frozenset[str]:
        """Paths that the index has otherwise than the last commit; all of it when there is none."""
        if not self.has_commit():
            return frozenset(entry.path for entry in entries)
        return self.names("diff-index", "--cached", "--name-only", "--no-renames", "-z", "HEAD", "--")

    def has_commit(self) -> bool:
        """False on a branch that is to begin."""
        try:
            self.text("rev-parse", "--quiet", "--verify", "HEAD^{commit}")
        except _Refused:
            return False
        return True

    def committed(self) -> dict[str, tuple[str, str]]:
        """Mode and name of each file in the last commit."""
        found = {}
        for line in self._run(["ls-tree", "-r", "-z", "--full-tree", "HEAD"]).split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, sha = about.decode().split(" ")
            found[os.fsdecode(path)] = (mode, sha)
        return found

    def entry(self, path: str, content: Content, known_mode: str | None) -> tuple[str, str]:
        """Mode and name that a content would have in a commit, git's filters applied; nothing is stored.

        `known_mode` is the last commit's where git does not look at the executable bit.
        """
        if content.kind is EntryKind.SYMLINK:
            return "120000", self._named(content.data, "--no-filters")
        plain = known_mode if known_mode in {"100644", "100755"} else None
        mode = plain or ("100755" if content.executable else "100644")
        return mode, self._named(content.data, f"--path={path}")

    def _named(self, data: bytes, how: str) -> str:
        return self._run(["hash-object", "--stdin", how], data).decode().strip()

    def ignored(self, paths: Sequence[str]) -> list[str]:
        """Those that git's rules leave out."""
        try:
            # With "./" a name that begins with ":" is no magic.
            given = b"".join(b"./" + os.fsencode(path) + b"\0" for path in paths)
            told = self._run(["check-ignore", "-z", "--stdin"], given)
        except _Refused:  # its way to say: none
            return []
        return [os.fsdecode(path).removeprefix("./") for path in told.split(b"\0")[:-1]]

    def has_file(self, path: str) -> bool:
        """True where a file or link stands now; git keeps no folders."""
        return (self._top / path).is_symlink() or (self._top / path).is_file()

    def has_folder(self, path: str) -> bool:
        """True where a folder stands now, and no link to one."""
        return (self._top / path).is_dir() and not (self._top / path).is_symlink()

    def has_repository(self, folder: str) -> bool:
        """True where a folder is the top of another working tree."""
        return os.path.lexists(self._top / folder / ".git")

    def names(self, *command: str) -> frozenset[str]:
        """The paths that a command lists with -z."""
        return frozenset(os.fsdecode(path) for path in self._run(command).split(b"\0")[:-1])

    def text(self, *command: str) -> str:
        """What a command says, without its last line end."""
        return os.fsdecode(self._run(command)).removesuffix("\n")

    def feed(self, command: Sequence[str], paths: Sequence[str]) -> None:
        """Runs a command that takes paths; nothing for none. They are marked as no patterns one by one: a setting
        for all of git would reach the hooks too, and change what they match.
        """
        if paths:
            given = b"".join(b":(top,literal)" + os.fsencode(path) + b"\0" for path in paths)
            self._run([*command, "--pathspec-from-file=-", "--pathspec-file-nul"], given)

    def kept(self, message: str) -> str:
        """A file with the message, for stdin is the paths'."""
        import tempfile

        handle, name = tempfile.mkstemp(prefix="cairn-message-")
        self._message = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(message)
        return name

    def drop_kept(self) -> None:
        """Deletes that file."""
        if self._message is not None:
            self._message.unlink(missing_ok=True)

    def _run(self, command: Sequence[str], given: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", *command], cwd=self._top, env=self._environment, input=given, capture_output=True, check=False
        )
        if done.returncode != 0:
            told = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()
            raise _Refused("\n".join(told[-_TOLD_LINES:]))
        return done.stdout
