from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.hostile.attacks")

from tests.hostile import attacks  # noqa: E402 - its assertions are to show what they compared


@pytest.fixture
def room(tmp_path):
    with attacks.room(tmp_path) as made:
        yield made
