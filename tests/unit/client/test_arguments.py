"""What `polybatch submit` refuses by its words alone, before it reads a file or calls a service."""

from __future__ import annotations

import click
import pytest
from polybatch.cli.submit_command import submit


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--window", "soon"), "no span"),
        (("--window", "8d"), "from 1s to 7d"),
        (("--window", "0s"), "from 1s to 7d"),
        (("--window", "99999999999d"), "from 1s to 7d"),
        (("--request-id", ""), "empty"),
        (("--request-id", "é" * 65), "130 bytes: at most 128"),
        (("--provider", ""), "empty"),
        (("--model", ""), "empty"),
        (("--metadata", "team"), "not KEY=VALUE"),
        (("--metadata", f"{'k' * 65}=x"), "65 characters: at most 64"),
        (("--metadata", f"team={'v' * 513}"), "513 characters: at most 512"),
        (("--metadata", "a=1", "--metadata", "a=2"), "'a' is given twice"),
        ([word for n in range(17) for word in ("--metadata", f"k{n}=")], "17 pairs: at most 16"),
    ],
)
def test_words_out_of_range(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        submit.make_context("submit", ["requests.jsonl", *words])


def test_words_at_their_limits() -> None:
    pairs = [word for n in range(16) for word in ("--metadata", f"{n:064}={'é' * 512}")]
    words = ["--window", "7d", "--request-id", "r" * 128, *pairs]
    found = submit.make_context("submit", ["requests.jsonl", *words]).params
    assert found["completion_window"].days == 7
    assert len(found["metadata"]) == 16
