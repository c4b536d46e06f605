"""Where our prices differ from litellm's price map (1.106.2), and why: an entry, a difference."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from core.prices.rates import Processing

OPENAI = "https://developers.openai.com/api/docs/pricing"
GOOGLE = "https://ai.google.dev/gemini-api/docs/pricing"
ANTHROPIC = "https://platform.claude.com/docs/en/about-claude/pricing"

BATCH, REAL_TIME = Processing.BATCH, Processing.REAL_TIME


@dataclass(frozen=True)
class Difference:
    """Rates in USD a million; "none": there is no such rate."""

    model: str
    """* stands for any letters."""
    processing: Processing
    above: int
    """Prompt tokens over which the rate holds; -1: any."""
    kind: str
    ours: str
    theirs: str
    why: str
    source: str

    def matches(
        self, model: str, processing: Processing, above: int, kind: str, ours: str, theirs: str
    ) -> bool:
        """Whether it explains a difference."""
        found = (processing, above, kind, ours, theirs)
        mine = (self.processing, self.above, self.kind, self.ours, self.theirs)
        return fnmatchcase(model, self.model) and found == mine


def lacks(model: str, ours: str, why: str, source: str, above: int = -1) -> Difference:
    """A batch rate of input that litellm has none of."""
    return Difference(model, BATCH, above, "input", ours, "none", why, source)


_DATED = "the Batch table has the dated snapshot, which litellm prices; the alias is the same"
_PRICED_AS = (
    "genai-prices takes it for the model that it is an alias of, batches and all; the catalogue "
    "has it as one that batches do not run, so the rate is never used"
)
_IMAGES = "the Batch table has the model; litellm has its batch rates under the undated name only"
_NO_ANSWER = (
    "embeddings have no answer; ours would cost as the input if there were one, as nothing is free "
    "for want of a rate"
)
_LONG = (
    "the Batch tab has the rate for long prompts; litellm 1.106.2 applies the short one, later "
    "releases (1.110.2) have it"
)
_RETIRED_TIER = (
    "the tier of the 1M context beta, retired on 2026-04-30: such a request is refused now. "
    "litellm has dropped it, genai-prices keeps it for what was used before"
)
_BASE_ONLY = (
    "the Batch table publishes base rates only for this model (genai-prices, verified 2026-10-14); "
    "litellm has half of Standard's long-context rates. Not settled: the page does not say that "
    "long prompts cost no more in a batch"
)

EXPLAINED = (
    lacks("gpt-3.5-turbo", "0.25", _DATED, OPENAI),
    lacks("gpt-4", "15", _DATED, OPENAI),
    lacks("gpt-4-1106-preview", "5", "genai-prices takes it for gpt-4-turbo; retired", OPENAI),
    lacks("gpt-4-turbo", "5", _DATED, OPENAI),
    lacks("gpt-5-chat-latest", "0.625", _PRICED_AS, OPENAI),
    lacks("gpt-5.1-chat-latest", "0.625", _PRICED_AS, OPENAI),
    lacks("gpt-5.2-chat-latest", "0.875", _PRICED_AS, OPENAI),
    Difference("gpt-5.5-pro*", BATCH, 272_000, "input", "15", "30", _BASE_ONLY, OPENAI),
    Difference("gpt-5.5-pro*", BATCH, 272_000, "output", "90", "135", _BASE_ONLY, OPENAI),
    lacks("gpt-image-2*", "2.5", _IMAGES, OPENAI),
    lacks(
        "omni-moderation-*",
        "0",
        "moderation is free in batches as well",
        "https://developers.openai.com/api/docs/guides/moderation",
    ),
    Difference("text-embedding-3-large", REAL_TIME, -1, "output", "0.13", "0", _NO_ANSWER, OPENAI),
    Difference("text-embedding-3-large", BATCH, -1, "output", "0.065", "0", _NO_ANSWER, OPENAI),
    Difference("text-embedding-3-small", REAL_TIME, -1, "output", "0.02", "0", _NO_ANSWER, OPENAI),
    Difference("text-embedding-3-small", BATCH, -1, "output", "0.01", "0", _NO_ANSWER, OPENAI),
    Difference("text-embedding-ada-002", REAL_TIME, -1, "output", "0.1", "0", _NO_ANSWER, OPENAI),
    lacks("text-embedding-ada-002", "0.05", "the table of embeddings has it", OPENAI),
    lacks("claude-sonnet-4-5-20250929", "3", _RETIRED_TIER, ANTHROPIC, above=200_000),
    Difference(
        "claude-sonnet-4-5-20250929", REAL_TIME, 200_000, "input", "6", "none", _RETIRED_TIER,
        ANTHROPIC,
    ),
    lacks("gemini-2.5-pro", "1.25", _LONG, GOOGLE, above=200_000),
    lacks("gemini-3.1-pro-preview", "2", _LONG, GOOGLE, above=200_000),
    lacks("gemini-pro-latest", "2", "an alias of gemini-3.1-pro-preview", GOOGLE, 200_000),
    Difference("gemini-embedding-001", REAL_TIME, -1, "output", "0.15", "0", _NO_ANSWER, GOOGLE),
    lacks("gemini-embedding-001", "0.075", "litellm has it from 1.110 on", GOOGLE),
    Difference("gemini-embedding-2", REAL_TIME, -1, "output", "0.2", "0", _NO_ANSWER, GOOGLE),
)  # fmt: skip
