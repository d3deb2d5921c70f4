"""A real folder as an object store, through obstore."""

from __future__ import annotations

import pytest

from cairn.errors import StorageProblem, UsageProblem
from cairn.object_store import ObjectMissing, ObjectStore, open_objects


@pytest.fixture
def store(tmp_path):
    return ObjectStore((tmp_path / "objects").as_uri())


def test_an_object_is_made_once_and_read_by_whoever_opens_the_store(store, tmp_path):
    store.put("project/task/1-abc", b"one")
    store.put("project/task/1-abc", b"another content, which its name does not have")

    again = ObjectStore((tmp_path / "objects").as_uri())
    assert again.get("project/task/1-abc") == b"one"


def test_the_folder_and_those_above_it_are_made(tmp_path):
    ObjectStore((tmp_path / "new/folder/with blank").as_uri()).put("a", b"x")

    assert (tmp_path / "new/folder/with blank/a").read_bytes() == b"x"


def test_a_missing_one_is_told_and_deleting_it_does_no_harm(store):
    store.put("a", b"x")
    store.delete("a")
    store.delete("a")
    with pytest.raises(ObjectMissing, match="There is no object a in file:///"):
        store.get("a")


def test_all_of_one_project_are_listed(store):
    for key in ("one/task/1-a", "one/other/2-b", "two/task/1-c", "onetwo/x"):
        store.put(key, key.encode())

    assert sorted((each.key, each.size) for each in store.every("one")) == [("one/other/2-b", 13), ("one/task/1-a", 12)]


def test_no_address_is_no_store():
    assert (open_objects(None), open_objects("")) == (None, None)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "relative URL without a base"),
        ("ftp://host/x", "Unable to recognise URL"),
        ("file://relative/folder", "a folder is named by its whole path"),
        ("file:relative", "a folder is named by its whole path"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_in_words(url, why):
    with pytest.raises(UsageProblem) as refused:
        open_objects(url)
    assert refused.value.what == f"engine.objects cannot be {url!r}."
    assert why in refused.value.why
    assert "Debug source" not in str(refused.value)


def test_a_bucket_that_cannot_be_reached_is_told_within_seconds(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    store = ObjectStore("s3://bucket/cairn")

    with pytest.raises(StorageProblem) as failed:
        store.put("a", b"x")

    assert failed.value.what == "s3://bucket/cairn, where large task files lie, does not serve them."
    assert "Debug source" not in str(failed.value)
