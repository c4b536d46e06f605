"""What the translations of chat completions share: the common request, fields, the report."""

from core.providers.translation.common_request import PlainRequest, are_plain, is_plain
from core.providers.translation.report import Note, dropped_fields

__all__ = ["Note", "PlainRequest", "are_plain", "dropped_fields", "is_plain"]
