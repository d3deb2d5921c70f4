"""What is cut from a conversation that is too long, in which order, and how providers say how long it may be."""

from __future__ import annotations

import pytest

from cairn.shortening import Cuts, harder, share_that_fits


def test_the_oldest_outputs_go_first_then_what_was_told_at_the_beginning_then_programs_and_the_newest_output_last() -> (
    None
):
    assert list(harder(3, 2)) == [
        Cuts(),
        Cuts(outputs=1),
        Cuts(outputs=2),
        Cuts(outputs=2, sections=1),
        Cuts(outputs=2, sections=2),
        Cuts(outputs=2, sections=2, programs=1),
        Cuts(outputs=2, sections=2, programs=2),
        Cuts(outputs=2, sections=2, programs=2, newest=True),
    ]
    assert list(harder(0, 1)) == [Cuts(), Cuts(sections=1)]
    assert list(harder(0, 0)) == [Cuts()]


@pytest.mark.parametrize(
    ("message", "share"),
    [
        (
            "maximum context length is 8192 tokens. However, you requested 10240 (9216 in the messages, 1024 to come).",
            0.72,
        ),
        ("prompt is too long: 250000 tokens > 200000 maximum", 0.72),
        ("The input token count (1,200,000) exceeds the maximum number of tokens allowed (600,000).", 0.45),
        ("Requested 900,000 tokens, limit is 1,000", 0.1),
        ("the request exceeds the available context size (4096 tokens), try increasing it", 0.6),
        ("This model's maximum context length is 8192 tokens.", 0.6),
        ("context_length_exceeded", 0.6),
    ],
)
def test_the_share_that_fits_is_what_the_provider_s_figures_say(message: str, share: float) -> None:
    assert round(share_that_fits(message), 4) == share
