"""What the crew and its workers say to each other arrives as it was said."""

from __future__ import annotations

import pytest

from cairn.crew_messages import Has, Lacks, Ready, RunTask, StopNow, TaskEnded, Told, from_line
from cairn.message_lines import to_line


@pytest.mark.parametrize(
    "message",
    [
        RunTask("bcdfgh", 3),
        RunTask("bcdfgh", 4, ("m",)),
        Lacks("m", "a worker with a key for", "M_KEY is not set.", ("llm keys set m", "export M_KEY=...")),
        Has("m"),
        StopNow(),
        Ready(7),
        Told("bcdfgh", 'a line\nwith "another" one, \x1b and ü'),
        TaskEnded("bcdfgh", "in review", "", "1 file +1 -0", 1.5, lost=True),
    ],
)
def test_a_message_is_one_line_and_comes_back(message):
    line = to_line(message)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert from_line(line) == message
