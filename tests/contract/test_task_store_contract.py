"""The contract of task stores, kept by the folder on this machine and by the server that many share."""

from __future__ import annotations

import pytest

from cairn import task_content
from cairn.object_store import ObjectStore
from cairn.shared_tasks import SharedTasks
from cairn.task_store import LocalTasks
from cairn.task_store_contract import TaskStoreContract
from tests.shared_database import SharedLedger


class TestLocalTasks(TaskStoreContract):
    def open(self, folder):
        (folder / "tasks").mkdir(exist_ok=True)
        return LocalTasks(folder / "tasks")

    def moved(self, folder, task):
        return task


class TestSharedTasks(TaskStoreContract):
    @pytest.fixture(autouse=True)
    def server(self, database_url):
        self.ledger = SharedLedger(database_url)
        self.machines = 0
        yield
        self.ledger.close()

    def open(self, folder):
        self.machines += 1
        return SharedTasks(self.ledger.database(), folder / f"machine {self.machines}")

    def moved(self, folder, task):
        return self.ledger.has(task)


class TestSharedTasksAsObjects(TestSharedTasks):
    """What is too large for the database: here everything is."""

    @pytest.fixture(autouse=True)
    def nothing_fits(self, monkeypatch):
        monkeypatch.setattr(task_content, "LARGEST_ROW", 1000)

    def open(self, folder):
        self.machines += 1
        objects = ObjectStore((folder / "objects").as_uri())
        return SharedTasks(self.ledger.database(), folder / f"machine {self.machines}", objects)
