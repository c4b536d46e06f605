"""The tokens that images, recordings and files come to, by each provider's published rule.

Sources, as of November 2026:

- OpenAI, Images and vision, "Calculating costs" (developers.openai.com/api/docs/guides/
  images-vision): tiles of 512 pixels for some models, patches of 32 pixels for the others, with
  the factor of each; the factor of GPT-5.2 and later, and that "auto" is "original" from GPT-5.5
  on, as measured (huggingface.co/datasets/JOHNISKING/image-token-cost). Realtime guide: a token
  for 100 ms of a user's audio.
- Anthropic, Vision (platform.claude.com/docs/en/build-with-claude/vision): a token for each patch
  of 28 pixels (its earlier rule, width * height / 750, is nearly the same), once the image is
  scaled to 1568 pixels and tokens, or 2576 pixels and 4784 tokens from Claude Opus 4.7 on.
  PDF support: 1,500 to 3,000 tokens a page of text, its image included.
- Google, Image understanding, Media resolution, Tokens (ai.google.dev/gemini-api/docs): tiles of
  258 tokens up to Gemini 2.5; from Gemini 3 on a number for each resolution. 32 tokens for each
  second of audio; a page is an image.

What is not known (another model, a link, an unreadable header) counts as the default that stands
beside each rule; what ran corrects all of it (core.ledger.quotas).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from core.providers.media.pixels import Size

LINKED_IMAGE = Size(1024, 1024)
"""What an image counts as whose size is not known: a link, the id of a file."""
LARGEST_IMAGE = Size(8000, 8000)
"""What such an image is at the most: Anthropic's limit; others scale down what is larger."""
LINKED_PAGES = 10
"""Pages of a document of which nothing is known."""
BYTES_A_PAGE = 100_000
"""Of a PDF whose pages cannot be counted."""
LINKED_SECONDS = 60.0
"""Of a recording of which nothing is known."""

_PAGE = Size(1024, 1325)
_PAGE_TEXT = 500
_AUDIO_A_SECOND = 10
# Until a scale is found to a pixel of the largest image.
_HALVINGS = 20

ImageRule: TypeAlias = Callable[[Size, str], int]
"""Takes an image's size and the detail that was asked for; gives tokens."""


class Rates(NamedTuple):
    """How one model counts."""

    image: ImageRule
    page: int
    """Tokens for each page of a PDF."""
    second: float
    """Tokens for each second of a recording."""


def _tiles(base: int, tile: int) -> ImageRule:
    """OpenAI: within 2048 pixels, the shorter side 768, tiles of 512; "low" is the base alone."""

    def count(size: Size, detail: str) -> int:
        if detail == "low":
            return base
        scale = min(1.0, 2048 / max(size))
        scale = min(scale, 768 / min(size))
        wide, high = (math.ceil(round(side * scale) / 512) for side in size)
        return base + tile * max(wide, 1) * max(high, 1)

    return count


def patches(
    size: Size, side: int, most: float, longest: float = math.inf, *, whole: bool = False
) -> int:
    """Patches that cover an image once it is scaled to its limits, as little as possible.

    `whole`: scaled by the square root of what is too much, and on until no patch is cut in one
    of the directions: OpenAI's way.
    """

    def covered(scale: float) -> int:
        wide, high = (math.ceil(round(each * scale / side, 6)) for each in size)
        return max(wide, 1) * max(high, 1)

    scale = min(1.0, longest / max(size))
    if covered(scale) <= most:
        return covered(scale)
    upper = min(scale, math.sqrt(most * side * side / (size.width * size.height)))
    if whole:
        wide, high = size.width * upper / side, size.height * upper / side
        if min(wide, high) > 1:
            upper *= min(math.floor(wide) / wide, math.floor(high) / high)
        return min(covered(upper), int(most))
    lower = 0.0
    for _ in range(_HALVINGS):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if covered(middle) <= most else (lower, middle)
    return covered(lower)


def _patched(factor: float) -> ImageRule:
    """OpenAI's smaller models: patches of 32 pixels, at most 1536; no level of detail."""
    return lambda size, _detail: math.ceil(round(patches(size, 32, 1536, whole=True) * factor, 6))


def _detailed(auto: str, original: float) -> ImageRule:
    """OpenAI since GPT-5.2. `auto`: what that means; `original`: the most patches of it."""
    levels = {"low": (256.0, 512.0), "high": (2500.0, 2048.0), "original": (original, math.inf)}

    def count(size: Size, detail: str) -> int:
        most, longest = levels.get(detail, levels[auto])
        return math.ceil(round(patches(size, 32, most, longest, whole=True) * 1.2, 6))

    return count


def _claude(longest: int, most: int) -> ImageRule:
    return lambda size, _detail: patches(size, 28, most, longest)


def _gemini_2(size: Size, detail: str) -> int:
    if detail.upper().endswith("LOW"):
        return 64
    if max(size) <= 384:
        return 258
    # "Roughly: the shorter side / 1.5" of the guide, within what a tile may be.
    unit = min(max(min(size) // 1.5, 256), 768)
    return 258 * math.ceil(size.width / unit) * math.ceil(size.height / unit)


_GEMINI_3 = {"LOW": 280, "MEDIUM": 560, "ULTRA_HIGH": 2240}


def _gemini_3(_size: Size, detail: str) -> int:
    return _GEMINI_3.get(detail.upper().removeprefix("MEDIA_RESOLUTION_"), 1120)


def _openai(image: ImageRule) -> Rates:
    return Rates(image, image(_PAGE, "high") + _PAGE_TEXT, _AUDIO_A_SECOND)


_CLAUDE_PAGE = 2350
_CLAUDE = Rates(_claude(1568, 1568), _CLAUDE_PAGE, _AUDIO_A_SECOND)
_CLAUDE_SHARP = Rates(_claude(2576, 4784), _CLAUDE_PAGE, _AUDIO_A_SECOND)
_SHARP_SINCE = (4, 7)
_GEMINI_OLD = Rates(_gemini_2, 258, 32)
_GEMINI_NEW = Rates(_gemini_3, 560, 32)
# Qwen-VL and Mistral's models count so (28 pixels for each token), and others not far from it.
_UNKNOWN = _openai(lambda size, _detail: patches(size, 28, 4096))

# The first that fits; names without prefixes.
_OPENAI: tuple[tuple[str, Rates], ...] = tuple(
    (pattern, _openai(rule))
    for pattern, rule in (
        (r"gpt-4o-mini", _tiles(2833, 5667)),
        (r"gpt-4\.1-mini|gpt-5(\.\d+)?-mini", _patched(1.62)),
        (r"gpt-4\.1-nano|gpt-5(\.\d+)?-nano", _patched(2.46)),
        (r"o4-mini", _patched(1.72)),
        (r"o1|o3", _tiles(75, 150)),
        (r"computer-use", _tiles(65, 129)),
        (r"gpt-4|chatgpt-4", _tiles(85, 170)),
        (r"gpt-5(\.1)?(-|$)", _tiles(70, 140)),
        (r"gpt-5\.[234]", _detailed("high", 10_000)),
        (r"gpt-5\.\d", _detailed("original", 10_000)),
        (r"gpt-([6-9]|\d\d)", _detailed("original", math.inf)),
    )
)
_CLAUDE_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2}))?(?![\d])")
_GEMINI_VERSION = re.compile(r"gemini-(\d+)")


@lru_cache(maxsize=4096)
def rates_of(model: str) -> Rates:
    """How a model counts, by its name as files have it; a cautious guess for unknown ones."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    claude = _CLAUDE_VERSION.match(name)
    if claude:
        version = int(claude[1]), int(claude[2] or 0)
        return _CLAUDE_SHARP if version >= _SHARP_SINCE else _CLAUDE
    gemini = _GEMINI_VERSION.match(name)
    if gemini or name.startswith("gemini"):
        return _GEMINI_OLD if gemini and int(gemini[1]) < 3 else _GEMINI_NEW
    return next((rates for pattern, rates in _OPENAI if re.match(pattern, name)), _UNKNOWN)
