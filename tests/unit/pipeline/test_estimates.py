"""What was estimated beside what the sandbox then counts, line by line and form by form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from core.batchfile import LINE_OVERHEAD, LineScanner, Totals
from core.batchfile import Asked as Limits
from core.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, GENERATE_CONTENT, MESSAGES, RESPONSES
from core.ledger import Learned
from core.pipeline import Basis, Reckoner
from core.prices.rates import Price, Processing
from core.prices.table import PriceTable
from core.prices.usage import Usage
from core.providers import CATALOGUE, Provider, known_providers
from core.providers.anthropic import usage as anthropic
from core.providers.gemini import usage as gemini
from core.providers.openai import usage as openai
from core.settings import ProviderAccess, Settings
from services.gateway.checks import upload_rules
from services.sandbox.anthropic.answers import Answerer as Anthropic
from services.sandbox.gemini.answers import Answerer as Gemini
from services.sandbox.gemini.lines import Generate
from services.sandbox.openai.answers import Answerer as OpenAI
from services.sandbox.openai.check import BODIES
from tests.support.media import data_url, encoded, pdf, png

KEY = SecretStr("none")
ACCESS = ProviderAccess(openai_api_key=KEY, anthropic_api_key=KEY, gemini_api_key=KEY)
PRICES = PriceTable()
DAY = date(2026, 11, 28)
TEXTS = (
    "The price of a line is known before it leaves, and counted when it has come home. ",
    "Wie spät ist es in Zürich? ",
    "価格は事前に分かります。",
    "17,4;0.25;\n",
)
SANDBOX_ANSWER = 27
"""Tokens of the sandbox's answers to all but the shortest questions."""


@dataclass(frozen=True)
class Asked:
    """A kind of lines."""

    provider: str
    model: str
    url: str
    body: Callable[[str, Random], dict[str, Any]]


def chat(text: str, random: Random, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def pictures(text: str, random: Random) -> dict[str, Any]:
    image = data_url(png(random.randrange(32, 512), random.randrange(32, 512)), "image/png")
    parts = [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    return {"messages": [{"role": "user", "content": parts}], "max_completion_tokens": 100}


def documents(text: str, random: Random) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(pdf(3))}
    parts = [{"type": "document", "source": source}, {"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 50}


KINDS = {
    "chat": Asked("openai", "gpt-4.1-mini", CHAT_COMPLETIONS, chat),
    "a limit, several answers": Asked(
        "openai",
        "gpt-4.1",
        CHAT_COMPLETIONS,
        lambda text, random: chat(text, random, n=3, max_tokens=random.randrange(1, 40)),
    ),
    "images": Asked("openai", "gpt-4o", CHAT_COMPLETIONS, pictures),
    "a long prompt": Asked(
        "openai", "gpt-5.4", CHAT_COMPLETIONS, lambda text, random: chat(text * 16_000, random)
    ),
    "responses": Asked(
        "openai",
        "gpt-5.4",
        RESPONSES,
        lambda text, random: {"input": text, "max_output_tokens": random.randrange(16, 60)},
    ),
    "embeddings": Asked(
        "openai", "text-embedding-3-small", EMBEDDINGS, lambda text, random: {"input": text}
    ),
    "Claude, from OpenAI's form": Asked(
        "anthropic",
        "claude-sonnet-4-5",
        CHAT_COMPLETIONS,
        lambda text, random: chat(text, random, max_completion_tokens=random.randrange(1, 40)),
    ),
    "Claude, native": Asked(
        "anthropic",
        "claude-haiku-4-5-20251001",
        MESSAGES,
        lambda text, random: chat(text, random, max_tokens=random.randrange(1, 40)),
    ),
    "a document": Asked("anthropic", "claude-haiku-4-5-20251001", MESSAGES, documents),
    "Gemini, native": Asked(
        "gemini",
        "gemini-2.5-flash",
        GENERATE_CONTENT,
        lambda text, random: {
            "contents": [{"parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": random.randrange(1, 2000), "candidateCount": 2},
        },
    ),
}


@pytest.fixture(scope="module")
def providers() -> Mapping[str, Provider]:
    return known_providers(ACCESS, Settings()).open()


def write(kind: Asked, text: str, random: Random) -> bytes:
    """The body of a line, as a user writes it."""
    body = kind.body(text, random)
    return json.dumps(
        body if kind.url == GENERATE_CONTENT else {"model": kind.model, **body}
    ).encode()


def counted(kind: Asked, provider: Provider, body: bytes) -> Usage:
    """What the sandbox bills a body for."""
    line, _ = provider.encode_line("shard_1-t-1", kind.url, kind.model, body, lenient=False)
    answerer: Any
    if kind.provider == "openai":
        answerer, place = OpenAI(BODIES[kind.url], "batch_1", 0), ("response", "body", "usage")
        read = openai.read_usage
    elif kind.provider == "anthropic":
        answerer, place = Anthropic("msgbatch_1", "2023-06-01"), ("result", "message", "usage")
        read = anthropic.read_usage
    else:
        model = provider.remote_model(kind.model)
        answerer, place = Gemini(Generate, "batches/1", model), ("response", "usageMetadata")
        read = gemini.read_usage
    found = json.loads(msgspec.json.encode(answerer.answer(0, line)))
    for name in place:
        found = found[name]
    return read(json.dumps(found).encode())


def reckoner(kind: Asked, learned: Learned | None = None) -> Reckoner:
    model = CATALOGUE.model(kind.provider, kind.model)
    basis = Basis(SANDBOX_ANSWER, learned or Learned(), max_output=model.max_output)
    return Reckoner({(kind.provider, kind.model): basis})


def price_of(kind: Asked, provider: Provider) -> Price:
    price = PRICES.find(kind.provider, provider.remote_model(kind.model), Processing.BATCH, DAY)
    assert isinstance(price, Price)
    return price


@pytest.mark.parametrize("name", KINDS)
def test_no_line_costs_more_than_at_most(name: str, providers: Mapping[str, Provider]) -> None:
    kind, random = KINDS[name], Random(name)
    provider = providers[kind.provider]
    price = price_of(kind, provider)
    for text in TEXTS:
        body = write(kind, text * random.randrange(1, 9), random)
        usage = counted(kind, provider, body)
        estimate = reckoner(kind).line(kind.provider, kind.model, kind.url, body)
        assert usage.input <= estimate.prompt_at_most
        assert estimate.output_at_most is not None
        assert usage.output <= estimate.output_at_most
        _, at_most = Reckoner.cost(price, estimate)
        assert at_most is not None
        assert price.cost(usage) <= at_most


def test_the_expected_cost_is_near_once_lines_have_run(providers: Mapping[str, Provider]) -> None:
    kind, random = KINDS["chat"], Random(3)
    provider, price = providers[kind.provider], price_of(KINDS["chat"], providers["openai"])
    body = write(kind, TEXTS[0] * 30, random)
    usage = counted(kind, provider, body)
    before, _ = Reckoner.cost(price, reckoner(kind).line(kind.provider, kind.model, kind.url, body))
    # Of the sandbox's four characters a token nothing is known: three are taken.
    assert price.cost(usage) < before < 1.6 * price.cost(usage)
    learned = Learned(0.9 * (len(body) + LINE_OVERHEAD) / usage.input)
    line = reckoner(kind, learned).line(kind.provider, kind.model, kind.url, body)
    after, _ = Reckoner.cost(price, line)
    # What is learned errs on the side of more, by a tenth.
    assert price.cost(usage) < after < 1.12 * price.cost(usage)


@pytest.mark.parametrize("name", ["chat", "images", "a limit, several answers"])
def test_the_totals_of_a_file_are_those_of_its_lines(name: str) -> None:
    kind, random = KINDS[name], Random(name)
    bodies = [write(kind, TEXTS[0] * random.randrange(1, 9), random) for _ in range(60)]
    head = b'{"custom_id":"%d","method":"POST","url":"%b","body":'
    lines = [head % (number, kind.url.encode()) + body + b"}" for number, body in enumerate(bodies)]
    rules = upload_rules(known_providers(ACCESS, Settings()))
    scanner = LineScanner(rules, max_line_bytes=10**7, max_lines=100)
    for piece in (b"\n".join(lines)[at : at + 1000] for at in range(0, 10**7, 1000)):
        if not piece:
            break
        list(scanner.feed(piece))
    _, summary = scanner.finish()
    assert not summary.invalid_count

    known = reckoner(kind)
    found = [known.sum(kind.provider, kind.model, each) for each in summary.totals]
    assert len(found) < 60
    single = [
        known.line(kind.provider, kind.model, kind.url, body, size=len(line))
        for body, line in zip(bodies, lines, strict=True)
    ]
    assert sum(each.lines for each in found) == 60
    for field in ("prompt_at_most", "output_expected", "output_at_most", "media_at_most"):
        assert sum(getattr(each, field) for each in found) == sum(
            getattr(each, field) for each in single
        ), field
    expected = sum(each.prompt_expected for each in single)
    assert abs(sum(each.prompt_expected for each in found) - expected) <= 60


def test_a_file_whose_lines_all_differ_keeps_few_sums_and_a_bound() -> None:
    totals, random = Totals(), Random(5)
    most = 0
    for _ in range(40_000):
        limit = random.randrange(1, 1_000_000)
        totals.add(0, random.randrange(100, 100_000), Limits(limit, answers=random.randrange(1, 9)))
        most = max(most, limit)
    totals.add(0, 100, Limits(most + 1))

    sums = totals.sums()

    assert len(sums) <= 16_384 + 1
    assert sum(each.lines for each in sums) == 40_001
    assert max(each.limit or 0 for each in sums) >= most + 1
