"""docs/storage.md shows the tables as they are."""

from __future__ import annotations

import re
from pathlib import Path

from cairn.task_file import TaskFile

PAGE = Path(__file__).parents[2] / "docs/storage.md"


def plain(statement):
    return " ".join(statement.split()).rstrip(";")


def test_the_page_has_every_table_and_index_of_a_task_file_and_no_other(tmp_path):
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown = [plain(one) for block in blocks for one in block.split(";") if one.strip()]
    with TaskFile.create(tmp_path / "t.db", base=tmp_path) as file:
        made = file.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    assert sorted(shown) == sorted(plain(str(sql)) for (sql,) in made)
