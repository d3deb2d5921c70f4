"""A project's files as they are now, as a git commit: what a task on other machines works on.

HEAD where nothing is uncommitted, else a commit of its own on top of it. Only objects and refs below refs/cairn are
written: index, HEAD, branches, stashes and files stay as they are, to the byte.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn.errors import CairnError, UsageProblem
from cairn.git_process import GitRefused, git, line, problem, records
from cairn.ignore_scope import CAIRN_RULES
from cairn.task_base import REFS, Base
from cairn.tree_walk import is_ignored

LARGEST = 100_000_000  # bytes of one uncommitted file; most hosts of git take no larger one
MESSAGE = "Work that was not committed yet, as a task of Cairn found it\n"
_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Cairn"), ("EMAIL", "cairn@localhost"))
}
_WHOLE_NAMES = {"GIT_LITERAL_PATHSPECS": "1"}
_NAMES_SHOWN = 3
_SUBMODULE = re.compile(rb"(?:^|\0)160000 ")
_NO_COMMIT = ("unknown revision", "bad revision", "ambiguous argument 'HEAD'")


@dataclass(frozen=True, slots=True)
class _Head:
    """The commit that is checked out, its tree, and the second it was made in."""

    commit: str
    tree: str
    seconds: int


def snapshot(root: Path, turn: int = 0) -> Base:
    """Equal files on an equal HEAD give an equal commit, so that tasks share one checkout.

    In another `turn` it is another commit with the same files. Raises UsageProblem where there is no repository or a
    submodule has uncommitted work, CairnError when git refuses.
    """
    try:
        subfolder = _subfolder(root)
        head = _head(root)
        with tempfile.TemporaryDirectory(prefix="cairn-index-") as folder:
            tree = _tree(root, _IndexCopy(root, Path(folder, "index")), subfolder, head)
        base = Base(_commit(root, tree, head, turn), subfolder)
        git(root, "update-ref", "--no-deref", base.ref, base.commit)
    except GitRefused as refused:
        raise problem(
            f"git cannot keep the files of {root} as a commit.", refused, "Mend that, then try again."
        ) from None
    return base


def prune(root: Path, keep: Collection[Base]) -> int:
    """Lets go of every commit that was kept for a task and is none of these; gives how many. git deletes them later."""
    kept = {base.ref for base in keep}
    try:
        every = line(git(root, "for-each-ref", "--format=%(refname)", f"{REFS}/")).split("\n")
        gone = [ref for ref in every if ref and ref not in kept]
        git(root, "update-ref", "--no-deref", "--stdin", given="".join(f"delete {ref}\n" for ref in gone).encode())
    except GitRefused as refused:
        raise problem(f"git cannot delete what it keeps of tasks in {root}.", refused) from None
    return len(gone)


# -- where it begins ---------------------------------------------------------------------------------------------------


def _subfolder(root: Path) -> str:
    """The way from the repository's top to the project."""
    try:
        inside, _, told = git(root, "rev-parse", "--is-inside-work-tree", "--show-prefix").partition(b"\n")
    except GitRefused as refused:
        raise no_repository(root, refused) from None
    if inside != b"true":
        raise UsageProblem(f"{root} is git's own folder or a bare repository: there are no files to work on.")
    try:
        return told.decode().removesuffix("\n").removesuffix("/")
    except UnicodeDecodeError:
        raise UsageProblem(f"The name of {root} is no text, so a task on other machines cannot name it.") from None


def no_repository(root: Path, refused: GitRefused) -> CairnError:
    """What to raise where git knows of no repository, or will not work in it."""
    if "not a git repository" in refused.told:
        return UsageProblem(
            f"{root} is in no git repository, so its tasks cannot be run on other machines: they work on a commit.",
            fix="git init   makes one.",
        )
    return problem(f"git does not work in {root}.", refused)


def _head(root: Path) -> _Head | None:
    """None on a branch that is to begin."""
    try:
        told = line(git(root, "rev-list", "--max-count=1", "--format=%H %T %ct", "HEAD", "--"))
    except GitRefused as refused:
        if any(words in refused.told for words in _NO_COMMIT) and _is_to_begin(root):
            return None
        raise
    commit, tree, seconds = told.rpartition("\n")[2].split(" ")  # the first line is a heading
    return _Head(commit, tree, int(seconds))


def _is_to_begin(root: Path) -> bool:
    """True where HEAD names a branch that has no commit, and not one that cannot be read."""
    try:
        branch = line(git(root, "symbolic-ref", "--quiet", "HEAD"))
        return not git(root, "for-each-ref", "--format=%(refname)", branch)
    except GitRefused:
        return False


# -- the tree ----------------------------------------------------------------------------------------------------------


class _IndexCopy:
    """git's index in a file of its own, with what git knows of each file's times: only what changed is read again."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root = root
        self._variables: Mapping[str, str] = {**_WHOLE_NAMES, "GIT_INDEX_FILE": str(path)}
        index = root / line(git(root, "rev-parse", "--git-path", "index"))
        with suppress(FileNotFoundError), index.open("rb") as source, path.open("xb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            # With a later time git would trust entries that it has to doubt: files changed in the index's own instant.
            times = os.fstat(source.fileno())
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def git(self, *arguments: str, given: bytes = b"", folder: Path | None = None) -> bytes:
        """Runs git over this index, at the project's root."""
        return git(folder or self._root, *arguments, given=given, variables=self._variables)

    def take_in(self) -> None:
        """What changed below the root, and what is new there and not ignored, as `git add` would take it."""
        with ThreadPoolExecutor(2) as beside:
            others = beside.submit(self.git, "ls-files", "--others", "--exclude-standard", "--exclude=.cairn", "-z")
            known = beside.submit(self.git, "ls-files", "--stage", "-z")
            options = ("--name-status", "--no-renames", "--ignore-submodules=dirty", "--relative", "-z")
            told = records(self.git("diff-files", *options, "--", "."))
            there = self._wanted(others.result(), known.result())
        changed = list(zip(told[1::2], told[::2], strict=True))
        there += [path for path, how in changed if how != b"D"]
        if _SUBMODULE.search(known.result()):
            self._require_clean_submodules()
        self._require_small(there)
        self._update("--force-remove", [path for path, how in changed if how == b"D"])
        self._update("--add --remove --replace", there)

    def _update(self, how: str, paths: Sequence[bytes]) -> None:
        if paths:
            given = b"".join(path + b"\0" for path in dict.fromkeys(paths))
            self.git("update-index", *how.split(), "-z", "--stdin", given=given)

    def _wanted(self, others: bytes, known: bytes) -> list[bytes]:
        """Of what git neither knows nor ignores all but other repositories, and what Cairn's own rules hide."""
        new = [path for path in records(others) if not path.endswith(b"/")]
        rules = CAIRN_RULES.encode()
        if rules not in others and rules not in known and not (self._root / CAIRN_RULES).exists():
            return new
        return [path for path in new if not (_is_text(path) and is_ignored(self._root, path.decode(), folder=False))]

    def _require_clean_submodules(self) -> None:
        """A commit names a submodule's commit, so what is uncommitted in there would be missing."""
        options = ("--ignore-submodules=none", "--relative", "-z")
        told = records(self.git("diff-files", *options, "--", "."))
        # A submodule on another commit is listed too. Only where nothing is uncommitted in it, git has nothing to add.
        moved = [path for how, path in zip(told[::2], told[1::2], strict=True) if how.startswith(b":160000 160000")]
        dirty = [os.fsdecode(path) for path in moved if self._is_dirty(os.fsdecode(path))]
        if dirty:
            raise UsageProblem(
                f"The submodule {_some(dirty)} has work that is not committed, which a task elsewhere would not see.",
                fix=f"Commit it there, then try again: git -C {dirty[0]} status   shows it.",
            )

    def _is_dirty(self, submodule: str) -> bool:
        return bool(git(self._root / submodule, "status", "--porcelain", "--ignore-submodules=none"))

    def tree(self, subfolder: str) -> str:
        """The tree of the whole index, or of one folder in it; "" when it has nothing there."""
        if not subfolder:
            return line(self.git("write-tree", "--missing-ok"))
        self._drop_conflicts_elsewhere()
        if not self.git("ls-files", "--cached", "-z", "--", "."):
            return ""
        return line(self.git("write-tree", "--missing-ok", f"--prefix={subfolder}/"))

    def _drop_conflicts_elsewhere(self) -> None:
        """Of a merge under way outside of the project, which no tree can hold."""
        top = Path(line(git(self._root, "rev-parse", "--show-toplevel")))
        listed = records(self.git("ls-files", "--unmerged", "-z", folder=top))
        if listed:
            given = b"".join(each.partition(b"\t")[2] + b"\0" for each in listed)
            self.git("update-index", "--force-remove", "-z", "--stdin", given=given, folder=top)

    def _require_small(self, paths: Sequence[bytes]) -> None:
        large = [os.fsdecode(path) for path in paths if _size(os.fsencode(self._root) + b"/" + path) > LARGEST]
        if large:
            raise UsageProblem(
                f"{_some(large)} is not committed and larger than {LARGEST // 1_000_000} MB, too large to be sent.",
                fix="Have git ignore it, or commit it yourself.",
            )


def _tree(root: Path, index: _IndexCopy, subfolder: str, head: _Head | None) -> str:
    """Below the project what lies there now; beside it only what is committed, for that is none of the task's."""
    index.take_in()
    tree = index.tree(subfolder)
    return _around(root, tree, subfolder, head) if subfolder else tree


def _around(root: Path, tree: str, subfolder: str, head: _Head | None) -> str:
    """HEAD's tree with another one at a folder."""
    names = subfolder.split("/")
    for depth in range(len(names) - 1, -1, -1):
        above, name = "/".join(names[:depth]), os.fsencode(names[depth])
        entries = [each for each in _entries(root, above, head) if each.partition(b"\t")[2] != name]
        if tree:
            entries.append(b"040000 tree %s\t%s" % (tree.encode(), name))
        if not entries and above:
            tree = ""
            continue
        given = b"".join(entry + b"\0" for entry in entries)
        tree = line(git(root, "mktree", "--missing", "-z", given=given))
    return tree


def _entries(root: Path, folder: str, head: _Head | None) -> list[bytes]:
    if head is None:
        return []
    try:
        # The colon's path begins at the repository's top, wherever git is called.
        return records(git(root, "ls-tree", "-z", "--full-tree", f"{head.tree}:{folder}" if folder else head.tree))
    except GitRefused:
        return []  # the folder is new


# -- the commit --------------------------------------------------------------------------------------------------------


def _commit(root: Path, tree: str, head: _Head | None, turn: int) -> str:
    if head is not None and tree == head.tree and not turn:
        return head.commit
    moment = f"@{(head.seconds if head else 0) + turn} +0000"
    variables = {**_AUTHOR, "GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}
    parent = ("-p", head.commit) if head else ()
    return line(git(root, "commit-tree", "--no-gpg-sign", *parent, tree, given=MESSAGE.encode(), variables=variables))


def _is_text(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


def _size(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
