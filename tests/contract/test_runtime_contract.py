"""The local runtime keeps the contract in every sandbox and with every layer that this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from cairn import landlock
from cairn.local_runtime import LocalRuntime, Surroundings, bubblewrap_version, namespaces_work
from cairn.runtime import Runtime, Sandbox
from cairn.testing import RuntimeContract
from cairn.workspace import homes

pytestmark = pytest.mark.skipif(not namespaces_work(), reason="this machine has no user namespaces")


class _Local(RuntimeContract):
    surroundings: Surroundings

    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.environ = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "PATH": "/usr/bin:/bin"}
        yield
        assert list(homes(self.environ)[0].iterdir()) == []

    def runtime(self, project: Path) -> Runtime:
        return LocalRuntime(project, self.surroundings, self.environ)


class TestNamespacesOverOverlayfs(_Local):
    surroundings = Surroundings(Sandbox.NAMESPACES)


@pytest.mark.slow
class TestNamespacesOverACopy(_Local):
    surroundings = Surroundings(Sandbox.NAMESPACES, overlayfs=False)


@pytest.mark.slow
class TestUnsandboxed(_Local):
    surroundings = Surroundings(Sandbox.NONE)


@pytest.mark.slow
@pytest.mark.skipif(not bubblewrap_version(), reason="bubblewrap is not installed")
class TestBubblewrap(_Local):
    surroundings = Surroundings(Sandbox.BUBBLEWRAP)


@pytest.mark.slow
@pytest.mark.skipif(not landlock.is_enough(), reason="this kernel's Landlock is too old")
class TestLandlock(_Local):
    surroundings = Surroundings(Sandbox.LANDLOCK)
