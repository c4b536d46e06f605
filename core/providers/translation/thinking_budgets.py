"""How many tokens a model may think, where one limit covers its thoughts and its answer.

OpenAI's reasoning models share a limit between both as they see fit; Claude and Gemini are told
a budget. It leaves at least a quarter of the limit for the answer: a budget of nearly all of it
buys thoughts, and an answer that breaks off or never begins.
"""

from __future__ import annotations


def within(budget: int, limit: int) -> int:
    """The budget, cut to three quarters of the limit. Tokens."""
    return min(budget, limit * 3 // 4)


def limit_for(budget: int) -> int:
    """The least limit that a budget fits in. Tokens."""
    return -(-budget * 4 // 3)


def refusal(limit: int) -> str:
    """Why no budget fits, and what would."""
    return (
        f"Thinking needs max_completion_tokens of {limit:,} or more: it may take three quarters "
        "of them, the rest is for the answer."
    )
