"""What a sandbox's bill says was wasted: calls, uploads and answers that nobody needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

UPLOADING = ("openai", "gemini")
"""Providers whose batches need an upload; Mistral's are on OpenAI's bill."""

EARLY_OF_A_DEATH = 2
"""Calls that may come before a Retry-After is over when whoever was told of it died before it told
the others; a file for Gemini takes two. The next answer tells them."""


def needed_uploads(usage: Mapping[str, Any]) -> int:
    """The most uploads that the creates so far can have needed: one each.

    And one more for each whose answer was lost on its way.
    """
    accounts = [usage["providers"][name] for name in UPLOADING]
    return sum(
        account["calls"].get("create", 0) + account["answers_lost"].get("upload", 0)
        for account in accounts
    )


def waste(
    usage: Mapping[str, Any], *, uploads: int, unfetched: int = 0, early: int = 0
) -> Iterator[str]:
    """Each thing that was wasted, by the bill `usage`.

    `uploads`: the most that the attempts need; `unfetched`: the most answers that were billed
    and need not have been fetched, since their batch was given up; `early`: the most calls that
    nobody can have known to be too early.
    """
    for count, most, what in (
        (usage["calls_before_retry_after"], early, "calls before a Retry-After was over"),
        (usage["answers_never_fetched"], unfetched, "answers billed and never fetched"),
        (usage["deleted_twice"], 0, "files deleted twice"),
        (usage["uploads"], uploads, "uploads"),
    ):
        if count > most:
            yield f"{count} {what}, at most {most} expected: {_details(usage)}"


def assert_nothing_wasted(
    usage: Mapping[str, Any], *, uploads: int | None = None, unfetched: int = 0
) -> None:
    """See `waste`; without `uploads`, one for each create is expected."""
    most = needed_uploads(usage) if uploads is None else uploads
    found = list(waste(usage, uploads=most, unfetched=unfetched))
    assert not found, found


def _details(usage: Mapping[str, Any]) -> dict[str, Any]:
    names = ("calls", "refused", "answers_lost", "calls_before_retry_after")
    return {
        provider: {name: account[name] for name in names if account[name]}
        for provider, account in usage["providers"].items()
    }
