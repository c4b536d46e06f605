"""What the translation of a request's options depends on, beside the options."""

from __future__ import annotations

from typing import NamedTuple

from core.providers.catalogue import Model


class Circumstances(NamedTuple):
    """Of one request."""

    model: Model
    max_tokens: int
    prefilled: bool = False
    """Whether the model is to continue a message of the assistant."""
    answers_tools: bool = False
    """Whether the last turn brings the results of tools."""
