"""A real folder as an object store, through obstore."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class Bucket(BaseHTTPRequestHandler):
    """What of S3's protocol objects need that are made once: RFC 9110's conditional PUT, and GET."""

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["If-None-Match"] == "*"
        there = self.path in self.server.objects
        self.server.objects.setdefault(self.path, content)
        self.answer(412 if there else 200)

    def do_GET(self):
        content = self.server.objects.get(self.path)
        self.answer(404 if content is None else 200, content or b"")

    def answer(self, status, content=b""):
        self.send_response(status)
        for name, value in (("ETag", '"x"'), ("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    """Names a server in the environment, as a person does for a store of their own."""

    def at(port):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
        return ObjectStore("s3://bucket/cairn")

    return at


def test_a_bucket_behind_an_endpoint_of_the_environment(endpoint):
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        server.objects = {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            store = endpoint(server.server_port)
            store.put("project/a", b"one")
            store.put("project/a", b"two")
            assert store.get("project/a") == b"one"
            assert server.objects == {"/bucket/cairn/project/a": b"one"}
            with pytest.raises(ObjectMissing):
                store.get("project/b")
        finally:
            server.shutdown()
            thread.join()


def test_a_bucket_that_cannot_be_reached_is_told(endpoint):
    with socket.socket() as taken:  # bound, and not listening: nobody else can be there
        taken.bind(("127.0.0.1", 0))
        store = endpoint(taken.getsockname()[1])
        with pytest.raises(StorageProblem) as failed:
            store.put("a", b"x")

    assert failed.value.what == "s3://bucket/cairn, where large task files lie, does not serve them."
    assert "error sending request" in failed.value.why
    assert "Debug source" not in str(failed.value)
