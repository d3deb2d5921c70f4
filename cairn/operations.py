"""A project's accepts and undos as its tasks' ledger knows them: of this clone alone, or of all that share a server.

An accept or undo takes its task in the ledger before it writes, so that of all clones one does it. With a server what
it did is published when it is done, and any clone that has the change can take it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from cairn.acceptances import Acceptances, Overruled, this_clone
from cairn.changes import Change, ChangeSet
from cairn.errors import CairnError, StorageProblem
from cairn.hunks import Selection
from cairn.ledger_database import LedgerDatabase
from cairn.object_store import ObjectStore
from cairn.operation_log import Operation, OperationState, new_token
from cairn.project import Project, Undone
from cairn.project_files import Edit
from cairn.shared_operations import SharedOperations

_SETTLED = frozenset({OperationState.APPLIED, OperationState.UNDONE})


@dataclass(frozen=True, slots=True)
class Numbered:
    """Operations with numbers of the same kind, by which they name what they undid."""

    every: tuple[Operation, ...]

    def accept_behind(self, operation: Operation) -> Operation:
        """The accept that a chain of undos began with, as it is now."""
        return self.chain(operation)[0]

    def chain(self, operation: Operation) -> tuple[Operation, ...]:
        """From the accept over each undo to this operation."""
        by_number = {each.id: each for each in self.every}
        found = [by_number[operation.id]]
        while found[0].undoes is not None:
            found.insert(0, by_number[found[0].undoes])
        return tuple(found)

    def of(self, accept: Operation) -> tuple[Operation, ...]:
        """The accept and every undo that came from it, the oldest first."""
        return tuple(each for each in self.every if self.accept_behind(each).id == accept.id)


class Operations:
    """`shared`: what other clones did counts too, and what this one does is published."""

    def __init__(
        self,
        project: Project,
        database: LedgerDatabase,
        *,
        shared: bool,
        objects: Callable[[], ObjectStore | None] = lambda: None,
    ) -> None:
        self._project = project
        self._db = database
        self.acceptances = Acceptances(database, this_clone(project.root, project.state if shared else None))
        self.shared = SharedOperations(database, self.acceptances.holder, objects) if shared else None

    # -- reading -------------------------------------------------------------------------------------------------------

    def every(self) -> tuple[Operation, ...]:
        """Every accept and undo, the oldest first."""
        return self._project.operations() if self.shared is None else self.shared.every()

    def own(self) -> tuple[Operation, ...]:
        """Those of `every` that this clone did."""
        return tuple(each for each in self.every() if self.shared is None or each.where == self.acceptances.holder)

    def accepted(self, task_id: str) -> Selection:
        """What the task's accepts that are in effect took of its changes."""
        return self._project.accepted(task_id) if self.shared is None else self.shared.accepted(task_id)

    def part(self, number: int) -> Selection:
        """What an accept took of its task's changes, in effect or not."""
        return self._project.part(number) if self.shared is None else self.shared.part(number)

    def numbered(self, own: Operation) -> Operation:
        """An operation of this clone, recorded, with the number that `every` has for it and people know."""
        number = None if self.shared is None else self.shared.number(own.token)
        return own if number is None else replace(own, id=number)

    # -- one at a time -------------------------------------------------------------------------------------------------

    @contextmanager
    def taking(self, task_id: str, kind: str, *, overrule: bool) -> Iterator[str]:
        """The task is this clone's within it; gives the token for what it does. The caller has the project's lock.

        Given back when that came to nothing. Else the task stays taken until `Orchestrator` has recorded it, in this
        process or, after a crash, the next. Raises HeldElsewhere, IllegalMove.
        """
        token = new_token()
        self.acceptances.take(task_id, token, kind, overrule=overrule)
        try:
            yield token
        except BaseException:
            # Without an answer of the ledger it stays taken, and the next command here gives it back.
            with suppress(CairnError):
                if not any(each.token == token for each in self._project.operations()):
                    self.acceptances.release(token)
            raise

    def give_back_what_came_to_nothing(self) -> None:
        """What killed commands of this clone had taken and did nothing with. Nothing while another command works."""
        if not self.acceptances.mine():
            return
        with suppress(StorageProblem), self._project.locked(wait=False):
            begun = {each.token for each in self._project.operations()}
            for each in self.acceptances.mine():
                if each.token not in begun:
                    self.acceptances.release(each.token)

    def family(self, accept: Operation) -> tuple[Operation, ...]:
        """An accept of this clone and every undo that came from it, by its own numbers, those that are done."""
        here = Numbered(self._project.operations())
        return tuple(each for each in here.of(accept) if each.state in _SETTLED)

    def settle(self, family: Sequence[Operation]) -> None:
        """Inside a transaction of the ledger: the task is free again, and what was done here is with the server."""
        for each in family:
            self.acceptances.release(each.token)
        if self.shared is not None:
            parts = [self._project.part(each.id) if each.partial else None for each in family]
            self.shared.follow(list(zip(family, parts, strict=True)))

    def publish_contents(self, family: Sequence[Operation]) -> None:
        """Before `settle`, whose transaction is short then."""
        if self.shared is not None:
            for each in family:
                self.shared.keep_contents(each, self._project.every_edit(each.id))

    def overruled(self, family: Sequence[Operation]) -> Overruled | None:
        """Who took the task from this clone before what it did of that accept was recorded."""
        for each in (family[0], family[-1]):
            if (found := self.acceptances.overruled(each.token)) is not None:
                return found
        return None

    # -- taking back what was done elsewhere ---------------------------------------------------------------------------

    def undo(self, target: Operation, token: str) -> Undone:
        """Takes back one of `every`, in this clone's files. Raises Conflict also where they do not have it."""
        if self.shared is None:
            return self._project.undo(target.id, token=token)
        known = {each.token for each in self._project.operations()}
        chain = Numbered(self.every()).chain(target)
        adopted = [each.token for each in chain if each.token not in known]
        try:
            number = self._adopted(self.shared, chain)
            return self._project.undo(number, token=token, foreign=target if target.token in adopted else None)
        except BaseException:
            if not any(each.token == token for each in self._project.operations()):
                self._project.disown(adopted)
            raise

    def _adopted(self, shared: SharedOperations, chain: Sequence[Operation]) -> int:
        """The number here of the chain's last one."""

        def contents(of: Operation) -> tuple[Sequence[Edit], Selection | None]:
            edits = tuple(as_here(shared.edits(of), self._project))
            return edits, shared.part(of.id) if of.partial else None

        first, *others = chain
        number = self._project.adopt(first, partial(contents, first), None)
        for each in others:
            number = self._project.adopt(each, partial(contents, each), number)
        return number


def as_here(edits: Sequence[Edit], project: Project) -> Iterator[Edit]:
    """The edits with the modes, line ends and filters that git gives the same files in this clone."""
    from cairn.changes_in_tree import changes_in_tree

    back = ChangeSet(tuple(Change(edit.path, edit.after, edit.before) for edit in edits))
    here = {change.path: change for change in changes_in_tree(back, project.root)}
    for edit in edits:
        change = here[edit.path]
        yield replace(edit, before=change.after, after=change.before)
