from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import os, resource
from cairn.open_files import MARGIN, make_room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
opened, limits = [], []
for _ in range({count}):
    make_room()
    limits.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    opened += [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
print(limits[0], limits[-1] >= 3 * {count} + MARGIN, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""


def run(soft: int, hard: int, count: int) -> list[str]:
    code = CODE.format(soft=soft, hard=hard, count=count)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # it opens files
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
    return [*done.stdout.split(), done.stderr.strip().rpartition("\n")[2]]


def test_the_limit_stays_while_there_is_room():
    assert run(1024, 4096, 10) == ["1024", "True", "4096", ""]


def test_it_grows_with_what_is_open_up_to_what_the_system_allows():
    assert run(1024, 4096, 1000) == ["1024", "True", "4096", ""]


def test_where_no_more_is_allowed_it_stays_and_the_next_file_says_so():
    assert run(600, 600, 1000) == ["OSError: [Errno 24] Too many open files: '/dev/null'"]
