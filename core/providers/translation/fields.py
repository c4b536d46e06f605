"""Reading the fields of a request: what they have to be, and which are lost."""

from __future__ import annotations

from typing import Any

from core.providers.contract import LineRejected
from core.providers.translation.report import Report, wrong_type


def text_of(path: str, part: Any, report: Report) -> str:
    """The text of a text part; perhaps empty. Raises LineRejected."""
    if not isinstance(part, dict) or part.get("type") != "text":
        raise LineRejected(f"{path}.type", "unsupported_content", f"{path} has to be a text part.")
    known_only(path, part, {"type", "text"}, report)
    return string(f"{path}.text", part.get("text"))


def string(path: str, value: Any) -> str:
    """The value, which has to be a string. Raises LineRejected."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string")
    return value


def known_only(
    path: str, given: dict[str, Any], known: set[str] | frozenset[str], report: Report
) -> None:
    """Lose every other key that says something."""
    if not known.issuperset(given):
        for key in given:
            if key not in known and given[key] is not None:
                report.lose(f"{path}.{key}")


def check_result_name(path: str, message: dict[str, Any], called: str) -> None:
    """The name on a tool message, which older programs write: that of the function called.

    Raises LineRejected for another.
    """
    name = message.get("name")
    if name is not None and name != called:
        raise LineRejected(
            f"{path}.name",
            "unsupported_value",
            f"{path}.name is not that of the function that was called; expected the same, or "
            "no name.",
        )
