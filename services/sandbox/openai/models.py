"""The models that OpenAI serves in batches, as of 2026-11.

By family, so that snapshots count ("gpt-4.1-2025-04-14"), and what a family will still bring.
[openai 3.54 types/shared/chat_model.py and types/image_model.py, with the dates at which models
were shut down; developers.openai.com, models: whose endpoints]
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from services.sandbox.openai.lines import Body, Chat, Embedding
from services.sandbox.openai.texts_and_images import (
    Completions,
    ImageEdits,
    ImageGenerations,
    Moderations,
)

_CHAT_MODELS = (
    *("gpt-4o*", "gpt-4.1*", "gpt-5*", "gpt-6*", "gpt-audio-mini*"),
    *("o1-pro*", "o3*", "o4-*", "ft:*"),
)
_IMAGE_MODELS = ("gpt-image-*", "chatgpt-image-*")
_MODELS: dict[type[Body], tuple[str, ...]] = {
    Embedding: ("text-embedding-3-*", "text-embedding-ada-002"),
    Completions: ("gpt-3.5-turbo-instruct*", "davinci-002", "babbage-002", "ft:*"),
    Moderations: ("omni-moderation-*", "text-moderation-*"),
    ImageGenerations: _IMAGE_MODELS,
    ImageEdits: _IMAGE_MODELS,
}
"""Those of the endpoints that do not chat."""
_RESPONSES_ONLY = ("gpt-*-pro", "gpt-*-pro-20*", "o[1-9]-pro*")
_NOT_IN_BATCHES = ("*-realtime*", "*-audio-preview*", "*-tts*", "*-transcribe*", "gpt-*-codex*")
_RETIRED = re.compile(
    r"(gpt-4\.1-nano|o4-mini|o3-mini|o1|gpt-4o(-mini)?-search-preview)(-\d{4}-\d\d-\d\d)?"
    r"|gpt-4o-2024-05-13|gpt-5(\.[123])?-chat-latest|gpt-image-1"
)
"""Shut down by 2026-10-23, of the families above."""


def serves(model: str, kind: type[Body]) -> bool:
    """Whether a batch of such bodies may name a model."""
    if _RETIRED.fullmatch(model) or _is_any(model, _NOT_IN_BATCHES):
        return False
    if kind is Chat and _is_any(model, _RESPONSES_ONLY):
        return False
    return _is_any(model, _MODELS.get(kind, _CHAT_MODELS))


def _is_any(model: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)
