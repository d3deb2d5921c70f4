"""Which hosts are taken, and who may name one; what runs there is in tests/contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from cairn import plugins
from cairn.errors import UsageProblem
from cairn.settings import RuntimeSettings, Settings


@pytest.mark.parametrize("host", [None, "-oProxyCommand=evil", "a b"])
def test_a_host_that_ssh_would_take_for_something_else_is_refused(tmp_path: Path, host: str | None) -> None:
    with pytest.raises(UsageProblem, match=r"needs a host|is no host for ssh"):
        plugins.runtime(tmp_path, RuntimeSettings(name="ssh", host=host))


@pytest.mark.parametrize("name", ["host", "folder"])
def test_a_project_cannot_name_the_host(tmp_path: Path, name: str) -> None:
    (tmp_path / "cairn.toml").write_text(f'[runtime]\n{name} = "elsewhere"\n')
    with pytest.raises(UsageProblem, match="is not a project's to set"):
        Settings.load(tmp_path, {"HOME": str(tmp_path)})


def test_the_person_can(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "CAIRN_RUNTIME_NAME": "ssh", "CAIRN_RUNTIME_HOST": "box"}
    loaded = Settings.load(tmp_path, environ).runtime
    assert (loaded.name, loaded.host, loaded.folder) == ("ssh", "box", None)
