"""What the translations of chat completions share: the common request, fields, the report."""

from core.providers.translation.common_request import PlainRequest, is_plain
from core.providers.translation.report import Note, dropped_fields

__all__ = ["Note", "PlainRequest", "dropped_fields", "is_plain"]
