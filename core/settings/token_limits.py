"""The setting POLYBATCH_ENQUEUED_TOKEN_LIMITS."""

from __future__ import annotations


def parse_token_limits(text: str) -> dict[str, int]:
    """Read "provider/model=tokens, ..."; raises ValueError with what was expected."""
    limits: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = (part.strip() for part in item.partition("="))
        digits = number.replace("_", "")
        if not equals or "/" not in name or not digits.isdecimal() or int(digits) < 1:
            raise ValueError(
                f"{item!r} in POLYBATCH_ENQUEUED_TOKEN_LIMITS: expected provider/model=tokens, "
                "such as openai/gpt-4.1=2000000 or openai/*=900000"
            )
        limits[name] = int(digits)
    return limits
