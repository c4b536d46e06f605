"""Translation between OpenAI's chat completions and Anthropic's Messages."""

from core.providers.anthropic.translation.fast_path import check_plain
from core.providers.anthropic.translation.request import check_translation, translate_request
from core.providers.anthropic.translation.response import read_line

__all__ = ["check_plain", "check_translation", "read_line", "translate_request"]
