"""A submission is compared with the changes, never believed."""

from __future__ import annotations

from cairn.changes import Change, ChangeSet, Content, EntryKind
from cairn.program import Submission
from cairn.review import Claims

A = Content(EntryKind.FILE, 0o644, b"a\n")
B = Content(EntryKind.FILE, 0o644, b"b\n")


def changed(*paths: str) -> ChangeSet:
    return ChangeSet(tuple(Change(path, A, B) for path in sorted(paths)))


def test_a_true_claim_agrees():
    assert Claims.compare(Submission("done", ("b.py", "./a.py")), changed("a.py", "b.py")) == Claims(("a.py", "b.py"))
    assert Claims(("a.py",)).agree


def test_a_claimed_file_that_did_not_change_and_a_changed_one_not_claimed_both_show():
    claims = Claims.compare(Submission("done", ("ghost.py",)), changed("real.py"))

    assert claims == Claims((), ("ghost.py",), ("real.py",))
    assert not claims.agree


def test_a_folder_claims_what_is_below_it_and_nothing_beside_it():
    claims = Claims.compare(Submission("done", ("src/", "docs/")), changed("src/a.py", "srcs/b.py"))

    assert claims == Claims(("src/a.py",), ("docs/",), ("srcs/b.py",))


def test_a_rename_may_be_claimed_by_either_name():
    renamed = ChangeSet((Change("new.py", A, A, renamed_from="old.py"),))

    for claim in (("new.py",), ("old.py",), ("new.py", "old.py")):
        assert Claims.compare(Submission("moved", claim), renamed) == Claims(("new.py", "old.py"))


def test_no_submission_claims_nothing():
    assert Claims.compare(None, changed("a.py")) == Claims((), (), ("a.py",))
