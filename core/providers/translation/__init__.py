"""Translation between OpenAI's chat completions and Anthropic's Messages."""

from core.providers.translation.plain import PlainRequest, is_plain
from core.providers.translation.report import Note, dropped_fields
from core.providers.translation.request import check_translation, translate_request
from core.providers.translation.response import read_line

__all__ = [
    "Note",
    "PlainRequest",
    "check_translation",
    "dropped_fields",
    "is_plain",
    "read_line",
    "translate_request",
]
