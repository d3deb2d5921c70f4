"""What `PipedProcesses` starts in tests: it says what each line that it is told comes to, as Python."""

from __future__ import annotations

import os
import random
import secrets
import sys
import tempfile
import uuid

from cairn.prepared_process import answering, end_now

CHANCE = "(random.random(), secrets.token_hex(), next(tempfile._get_candidate_names()), uuid.uuid4().hex)"


def main() -> None:
    """Until nobody tells it anything."""
    random.random()
    next(tempfile._get_candidate_names())
    answers = answering(lambda: None)
    known = {"os": os, "random": random, "secrets": secrets, "sys": sys, "tempfile": tempfile, "uuid": uuid}
    for line in sys.stdin:
        os.write(answers, f"{eval(line, known)!r}\n".encode())  # noqa: S307 - the test's own
    end_now()


if __name__ == "__main__":
    main()
