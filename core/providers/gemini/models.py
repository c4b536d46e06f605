"""What of Gemini's models the translation has to know; told from their names.

Sources: ai.google.dev: OpenAI compatibility (table of reasoning_effort), thinking, thought
signatures (2026).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of one model. Names without a version are taken for the newest."""

    thinking: Literal["level", "budget", ""]
    """Told by thinkingLevel, by thinkingBudget, or not at all."""
    least_level: Literal["MINIMAL", "LOW"]
    least_budget: int
    """Tokens; of a model whose thinking is told by thinkingBudget."""
    can_stop_thinking: bool
    signs_calls: bool
    """Refuses function calls in the conversation that have no thought signature."""


@lru_cache(maxsize=1024)
def abilities(model_id: str) -> Abilities:
    """What a model can do, by its id at Gemini."""
    found = _VERSION.match(model_id)
    version = (int(found[1]), int(found[2] or 0)) if found else (3, 0)
    pro = "-pro" in model_id
    if version >= (3, 0):
        return Abilities("level", "LOW" if pro else "MINIMAL", 0, False, True)
    if version >= (2, 5):
        least = 128 if pro else 512 if "-lite" in model_id else 1
        return Abilities("budget", "LOW", least, not pro, False)
    return Abilities("", "LOW", 0, True, False)
