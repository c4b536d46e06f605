"""What a file of results says of the lines of its input."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Fates:
    """What became of the lines."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By the code that the results give."""
    missing: int = 0
    """Not in the results."""
    twice: int = 0
    unreadable: int = 0
    """Lines of the results that are no JSON object with a custom_id of the file."""
    ordered: bool = True
    """The results are in the order of the file."""

    def __str__(self) -> str:
        found = self.answered + self.failed.total()
        if not found and not self.unreadable:
            return "no results"
        counts = {
            "answered": self.answered,
            **{f"failed ({code})": count for code, count in self.failed.items()},
            "missing": self.missing,
            "twice": self.twice,
            "unreadable": self.unreadable,
        }
        told = [f"{count:,} {name}" for name, count in counts.items() if count]
        return ", ".join([*told, "in order" if self.ordered else "out of order"])


def fates_in(results: Path, lines: int) -> Fates:
    """Read the results of a file of so many lines; none where there is no such file."""
    fates = Fates()
    seen: Counter[int] = Counter()
    last = 0
    if results.exists():
        with results.open("rb") as file:
            for text in file:
                try:
                    result = json.loads(text)
                    number = int(result["custom_id"].rpartition("-")[2])
                except (ValueError, KeyError, TypeError):
                    fates.unreadable += 1
                    continue
                seen[number] += 1
                fates.ordered &= number >= last
                last = number
                if seen[number] > 1:
                    fates.twice += 1
                elif _is_answer(result):
                    fates.answered += 1
                else:
                    fates.failed[_code(result)] += 1
    fates.missing = lines - len(seen)
    return fates


def _is_answer(result: dict[str, Any]) -> bool:
    """Whether it holds a text, and a status of success."""
    match result.get("response"):
        case {
            "status_code": 200,
            "body": {"choices": [{"message": {"content": str(text)}}, *_]},
        } if text:
            return True
    return False


def _code(result: dict[str, Any]) -> str:
    """What a result that is no answer calls its failure; as OpenAI and polybatch write it."""
    match result:
        case {"error": {"code": str(code)}}:
            return code
        case {"response": {"body": {"error": {"code": str(code)}}}}:
            return code
        case {"response": {"body": {"error": {"type": str(kind)}}}}:
            return kind
    return "nothing says so"
