"""What requests will cost, before they are sent: as expected, and at the most.

Prompt, expected: bytes of text by the bytes per token that were learned of the model, and what
images, recordings and documents come to by the provider's rules; the same estimate as the
enqueued-token limit's. At the most: a token for each byte. That is the one bound that holds for
any text: the tokenizers in use take whole bytes (byte-level BPE), English has 4 to 5 bytes a
token, but with cl100k rows of numbers have 1.7, UUIDs 1.6, random base64 1.4, Amharic 1.1. A
margin of 2 bytes a token would not hold for a table of numbers.

Answer, at the most: what the request allows, times the answers it asks for; else the most that
the model gives; else it is not limited. Expected: the mean of earlier lines of the model, within
that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from msgspec import Raw

from core.batchfile import CACHES, OPEN, TIER, TOOLS, US, LineSum, MediaTokens, Totals, asked_of
from core.ledger import AnswerLength, Learned, Ledger, now
from core.prices.rates import MILLION, Price, Processing, Rates
from core.providers import CATALOGUE, prompt_of

_LOOKED_AT = timedelta(days=90)
# Anthropic puts up to so many tokens before a request with tools (platform.claude.com, tool use:
# 313 to 804 of instructions, 735 of computer use, 700 of the text editor, 245 of bash).
_TOOLS_PROMPT = {"anthropic": 2_500}


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known of a model before a batch runs."""

    answer_tokens: int
    """Of a line, expected; of one answer where nothing was learned."""
    learned: Learned = field(default_factory=Learned)
    length: AnswerLength | None = None
    """Where `answer_tokens` comes from; None: the setting."""
    max_output: int | None = None
    """Of the model, in tokens; None: not known."""


class LineEstimate(NamedTuple):
    """Tokens of one line, or the sums of lines that are alike."""

    prompt_expected: int
    prompt_at_most: int
    output_expected: int
    output_at_most: int | None
    """None: nothing limits it; or nobody knows how long the prompt will be (`unseen`)."""
    media_expected: int = 0
    """Of the prompt, images, recordings and files."""
    audio_expected: int = 0
    """Of these, recordings."""
    media_at_most: int = 0
    caches: bool = False
    """Whether it may be written to a cache of the long lifetime."""
    in_us: bool = False
    """Whether its inference is to be bound to the US."""
    tier: bool = False
    """Whether it asks for a tier that may cost more."""
    lines: int = 1
    longest: int = 0
    """Prompt tokens of one line at the most, where there are several lines."""


class Reckoner:
    """Reckons lines of the models that it was made for. Pure, and safe in any thread."""

    def __init__(self, bases: Mapping[tuple[str, str], Basis]) -> None:
        """`bases`: by provider and model as lines name it."""
        self._bases = bases

    @classmethod
    async def load(
        cls,
        ledger: Ledger,
        account_id: str,
        models: Iterable[tuple[str, str, str]],
        *,
        assumed_output: int,
    ) -> Reckoner:
        """With what was learned until now.

        `models`: provider, model as lines name it, and the provider's id of it.
        `assumed_output`: tokens of an answer of which nothing is known.
        """
        given = list(models)
        learned = await ledger.quotas.learned({(slug, remote) for slug, _, remote in given})
        since = (now() - _LOOKED_AT).date()
        named = [(slug, model) for slug, model, _ in given]
        lengths = await ledger.answer_lengths.of(account_id, named, since)
        bases = {}
        for slug, model, remote in given:
            length = lengths.get((slug, model))
            bases[slug, model] = Basis(
                answer_tokens=assumed_output if length is None else length.tokens,
                learned=learned.get((slug, remote), Learned()),
                length=length,
                max_output=CATALOGUE.model(slug, model).max_output,
            )
        return cls(bases)

    def basis(self, provider: str, model: str) -> Basis:
        """What lines of a model are reckoned by. Raises KeyError for one it was not made for."""
        return self._bases[provider, model]

    def line(
        self, provider: str, model: str, url: str, body: bytes | Raw, *, size: int | None = None
    ) -> LineEstimate:
        """Reckon one line. `size`: bytes of the whole line as the user wrote it, if known.

        Takes some microseconds, and a millisecond or two for each megabyte of images.
        """
        prompt = prompt_of(body, provider=provider, model=model, url=url)
        asked = asked_of(url, body)
        if prompt.unseen:
            asked = asked._replace(flags=asked.flags | OPEN)
        around = 0 if size is None else size - len(memoryview(body))
        media = MediaTokens(prompt.media_tokens, prompt.audio_tokens, prompt.media_at_most)
        totals = Totals()
        totals.add(0, prompt.text_bytes + around, asked, media)
        [lines] = totals.sums()
        return self.sum(provider, model, lines)

    def sum(self, provider: str, model: str, lines: LineSum) -> LineEstimate:
        """Reckon lines of a file that are priced alike."""
        basis = self._bases[provider, model]
        hidden = _TOOLS_PROMPT.get(provider, 0) if lines.flags & TOOLS else 0
        factor = basis.learned.media_factor
        media = round(lines.media_tokens * factor)
        media_at_most = round(lines.media_at_most * max(1.0, factor))
        at_most = lines.text_bytes + lines.lines * hidden + media_at_most
        limit = basis.max_output if lines.limit is None else lines.limit
        answer = basis.answer_tokens * (1 if basis.length else lines.answers)
        within = answer if limit is None else min(answer, limit * lines.answers)
        unlimited = limit is None or lines.flags & OPEN
        return LineEstimate(
            prompt_expected=basis.learned.tokens(lines.text_bytes, lines.media_tokens),
            prompt_at_most=at_most,
            output_expected=lines.lines * within,
            output_at_most=None if unlimited else lines.lines * lines.answers * (limit or 0),
            media_expected=media,
            audio_expected=round(lines.audio_tokens * factor),
            media_at_most=media_at_most,
            caches=bool(lines.flags & CACHES),
            in_us=bool(lines.flags & US),
            tier=bool(lines.flags & TIER),
            lines=lines.lines,
            longest=round(lines.longest * max(1.0, factor)) + hidden,
        )

    @staticmethod
    def is_open(estimate: LineEstimate, price: Price | None, *, rescued: bool = False) -> bool:
        """Whether nobody knows what lines can cost at the most.

        `rescued`: at the price of calls in a batch's place, which ask for no tier.
        """
        if estimate.output_at_most is None:
            return True
        if not estimate.tier or rescued or price is None:
            return False
        # Published rates are those of the standard tier; a batch has no other.
        return price.processing is Processing.REAL_TIME and not price.is_stated

    @classmethod
    def cost(
        cls, price: Price, estimate: LineEstimate, *, rescued: bool = False
    ) -> tuple[int, int | None]:
        """Nano-dollars: as expected, and at the most; None: nothing limits it.

        `rescued`: as of is_open.
        """
        if estimate.in_us:
            price = price.in_us
        rates = price.rates_of(estimate.prompt_expected // estimate.lines)
        audio = estimate.audio_expected
        images = estimate.media_expected - audio
        expected = (
            (estimate.prompt_expected - audio - images) * _rate(rates.input)
            + audio * _rate(rates.audio_input)
            + images * _rate(rates.image_input)
            + estimate.output_expected * _rate(rates.output)
        )
        expected = -(-expected // MILLION)
        if cls.is_open(estimate, price, rescued=rescued):
            return expected, None
        # Shorter prompts among them may cost more, if prices were ever made so.
        bands = [band for band in price.bands if band.above < estimate.longest]
        at_most = max(_at_most(band.rates, estimate) for band in bands)
        # Each line's cost is rounded to a nano-dollar of its own: so lines that are reckoned one
        # by one never come to more than their sum does.
        return expected, max(-(-at_most // MILLION) + estimate.lines - 1, expected)


def _at_most(rates: Rates, estimate: LineEstimate) -> int:
    # The provider decides what it writes to a cache of the short lifetime.
    text = max(_rate(rates.input), _rate(rates.cache_write_5m))
    if estimate.caches:
        text = max(text, _rate(rates.cache_write_1h))
    media = max(text, _rate(rates.audio_input), _rate(rates.image_input))
    answer = max(
        _rate(each)
        for each in (rates.output, rates.reasoning, rates.audio_output, rates.image_output)
    )
    return (
        (estimate.prompt_at_most - estimate.media_at_most) * text
        + estimate.media_at_most * media
        + (estimate.output_at_most or 0) * answer
    )


def _rate(resolved: int | None) -> int:
    return resolved or 0
