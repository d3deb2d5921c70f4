"""What became of each path between two states of a tree: pure values in, a ChangeSet out.

Folders count only where nothing else tells of them: an empty one made, or an empty one gone. A folder with something
below it is implied by that, as in git; but a new one that is closed to others, because it was moved, shall stay so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.project_path import parent

OPEN_TO_ALL = 0o055
Sides = dict[str, tuple[Content | None, Content | None]]


def compare(
    before: Mapping[str, Content | None], after: Mapping[str, Content | None], moves: Mapping[str, str]
) -> ChangeSet:
    """The changes between two states; a path missing from a mapping, or None in it, does not exist there.

    `moves` leads from new paths to old ones. A recorded move is a rename whatever else changed in the file; a deleted
    and an added file of the same bytes are one too.
    """
    sides = _sides(before, after)
    renamed = [*_recorded_renames(sides, moves), *_same_content_renames(sides)]
    plain = [Change(path, old, new) for path, (old, new) in sides.items()]
    return ChangeSet(tuple(sorted((*plain, *renamed), key=lambda change: change.path)))


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that has one of the paths below it, the root left out."""
    found: set[str] = set()
    for path in paths:
        above = parent(path)
        while above != "." and above not in found:
            found.add(above)
            above = parent(above)
    return found


def _sides(before: Mapping[str, Content | None], after: Mapping[str, Content | None]) -> Sides:
    full_before = folders_of(path for path, content in before.items() if content is not None)
    full_after = folders_of(path for path, content in after.items() if content is not None)
    sides: Sides = {}
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if _is_folder(old) and _is_folder(new):
            continue
        old = None if _is_folder(old) and path in full_before else old
        new = None if _is_folder(new) and path in full_after and not _is_closed(new) else new
        if old != new:
            sides[path] = (old, new)
    return sides


def _is_folder(content: Content | None) -> bool:
    return content is not None and content.kind is EntryKind.DIRECTORY


def _is_closed(folder: Content | None) -> bool:
    """True when not everybody may look into it, unlike a folder that mkdir makes for a file."""
    return folder is not None and folder.mode & OPEN_TO_ALL != OPEN_TO_ALL


def _recorded_renames(sides: Sides, moves: Mapping[str, str]) -> list[Change]:
    found: list[Change] = []
    for target, source in sorted(moves.items()):
        new_old, new = sides.get(target, (None, None))
        old, old_new = sides.get(source, (None, None))
        if new_old is None and old_new is None and new is not None and old is not None and new.kind is old.kind:
            found.append(Change(target, old, new, renamed_from=source))
            del sides[target], sides[source]
    return found


def _same_content_renames(sides: Sides) -> list[Change]:
    """Pairs deleted with added files of equal bytes, a file of the same name first; empty files say nothing."""
    gone: dict[bytes, list[str]] = {}
    for path, (old, new) in sorted(sides.items()):
        if new is None and old is not None and old.kind is EntryKind.FILE and old.data:
            gone.setdefault(old.data, []).append(path)
    found: list[Change] = []
    for path, (old, new) in sorted(sides.items()):
        if old is not None or new is None or new.kind is not EntryKind.FILE or not gone.get(new.data):
            continue
        sources = gone[new.data]
        source = next((one for one in sources if _name(one) == _name(path)), sources[0])
        sources.remove(source)
        found.append(Change(path, sides[source][0], new, renamed_from=source))
        del sides[path], sides[source]
    return found


def _name(path: str) -> str:
    return path.rpartition("/")[2]
