"""What a line is reckoned to cost: by its form, its limit, its media and the price's tiers."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from core.batchfile import CACHES, OPEN, TIER, TOOLS, US, asked_of
from core.endpoints import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    GENERATE_CONTENT,
    MESSAGES,
    RESPONSES,
)
from core.ledger import AnswerLength, Learned
from core.pipeline import Basis, Reckoner
from core.prices.price_file import parse_price_file
from core.prices.rates import Price, Processing
from core.prices.table import PriceTable

DAY = date(2026, 11, 28)
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
SPOKEN = {
    "messages": [*CHAT["messages"], {"role": "assistant", "audio": {"id": "audio_1"}}],
    "max_tokens": 9,
}
ASKS_LITTLE = (None, 1, 0)
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.parametrize(
    ("url", "body", "asked"),
    [
        (CHAT_COMPLETIONS, CHAT, (None, 1, 0)),
        (CHAT_COMPLETIONS, {**CHAT, "max_tokens": 9, "n": 3}, (9, 3, 0)),
        (CHAT_COMPLETIONS, {**CHAT, "max_completion_tokens": 9, "max_tokens": 4}, (9, 1, 0)),
        (CHAT_COMPLETIONS, {**CHAT, "max_tokens": "9", "n": True}, (None, 1, 0)),
        (CHAT_COMPLETIONS, {**CHAT, "tools": [FUNCTION]}, (None, 1, TOOLS)),
        (CHAT_COMPLETIONS, {**CHAT, "web_search_options": {}}, (None, 1, OPEN)),
        (RESPONSES, {"input": "Hi", "max_output_tokens": 9}, (9, 1, 0)),
        (RESPONSES, {"input": "Hi", "tools": [{"type": "web_search"}]}, (None, 1, OPEN | TOOLS)),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}, (None, 1, OPEN)),
        (RESPONSES, {"input": "Hi", "previous_response_id": "resp_1"}, (None, 1, OPEN)),
        (
            RESPONSES,
            {"input": [{"type": "item_reference", "id": "msg_1"}], "max_output_tokens": 9},
            (9, 1, OPEN),
        ),
        (
            RESPONSES,
            {"input": "Hi", "previous_response_id": None, "conversation": None, "prompt": None},
            (None, 1, 0),
        ),
        (RESPONSES, {"input": "Hi", "prompt_cache_options": {"ttl": "12h"}}, (None, 1, CACHES)),
        (
            RESPONSES,
            {"input": [{"content": [{"prompt_cache_breakpoint": {"ttl": "12h"}}]}]},
            (None, 1, CACHES),
        ),
        (CHAT_COMPLETIONS, {**CHAT, "web_search_options": None}, (None, 1, 0)),
        (MESSAGES, {**CHAT, "max_tokens": 9, "mcp_servers": []}, (9, 1, 0)),
        (
            MESSAGES,
            {**CHAT, "max_tokens": 9, "mcp_servers": [{"type": "url", "name": "m"}]},
            (9, 1, OPEN),
        ),
        (
            MESSAGES,
            {"max_tokens": 9, "context_management": {"edits": [{"type": "compact_20260112"}]}},
            (9, 1, OPEN),
        ),
        (
            MESSAGES,
            {"max_tokens": 9, "context_management": {"edits": [{"type": "clear_thinking_1"}]}},
            (9, 1, 0),
        ),
        (MESSAGES, {**CHAT, "max_tokens": 9, "inference_geo": "us"}, (9, 1, US)),
        (MESSAGES, {**CHAT, "max_tokens": 9, "inference_geo": "global"}, (9, 1, 0)),
        (MESSAGES, {**CHAT, "max_tokens": 9, "inference_geo": None}, (9, 1, 0)),
        (CHAT_COMPLETIONS, {**CHAT, "max_tokens": 9, "service_tier": "priority"}, (9, 1, TIER)),
        (CHAT_COMPLETIONS, {**CHAT, "max_tokens": 9, "service_tier": "flex"}, (9, 1, 0)),
        (CHAT_COMPLETIONS, {**CHAT, "max_tokens": 9, "service_tier": None}, (9, 1, 0)),
        (CHAT_COMPLETIONS, SPOKEN, (9, 1, OPEN)),
        (CHAT_COMPLETIONS, {**CHAT, "audio": {"voice": {"id": "v"}, "format": "wav"}}, ASKS_LITTLE),
        (CHAT_COMPLETIONS, {"messages": [{"content": json.dumps(SPOKEN)}]}, ASKS_LITTLE),
        (GENERATE_CONTENT, {"cachedContent": None}, (None, 1, 0)),
        (GENERATE_CONTENT, {"cached_content": "cachedContents/c"}, (None, 1, OPEN)),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 2, "best_of": 3}, (16, 6, 0)),
        (COMPLETIONS, {"prompt": [17, 18, 19], "max_tokens": 5}, (5, 1, 0)),
        (EMBEDDINGS, {"input": ["a", "b"]}, (0, 1, 0)),
        (MESSAGES, {**CHAT, "max_tokens": 9}, (9, 1, 0)),
        (
            MESSAGES,
            {"max_tokens": 9, "messages": [{"cache_control": {"type": "ephemeral"}}]},
            (9, 1, CACHES),
        ),
        (MESSAGES, {"max_tokens": 9, "tools": [{"name": "f", "input_schema": {}}]}, (9, 1, TOOLS)),
        (
            MESSAGES,
            {"max_tokens": 9, "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            (9, 1, OPEN | TOOLS),
        ),
        (
            GENERATE_CONTENT,
            {"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}},
            (9, 2, 0),
        ),
        (GENERATE_CONTENT, {"generation_config": {"max_output_tokens": 9}}, (9, 1, 0)),
        (GENERATE_CONTENT, {"tools": [{"googleSearch": {}}]}, (None, 1, OPEN | TOOLS)),
        (
            GENERATE_CONTENT,
            {"tools": [{"googleSearch": {}, "functionDeclarations": []}]},
            (None, 1, OPEN | TOOLS),
        ),
        (GENERATE_CONTENT, {"tools": [{"google_maps": {}}]}, (None, 1, OPEN | TOOLS)),
        (GENERATE_CONTENT, {"tools": [{"functionDeclarations": []}]}, (None, 1, TOOLS)),
    ],
)
def test_each_form_says_how_long_its_answer_may_be(
    url: str, body: dict[str, Any], asked: tuple[int | None, int, int]
) -> None:
    assert asked_of(url, json.dumps(body).encode()) == asked


def test_a_line_is_reckoned_by_what_was_learned_and_bounded_by_its_bytes() -> None:
    learned = Learned(bytes_per_token=4.0)
    basis = Basis(50, learned, AnswerLength(50, 40, of_account=True), max_output=1000)
    reckoner = Reckoner({("openai", "gpt-4.1"): basis})
    text = json.dumps({**CHAT, "max_tokens": 30}).encode()

    line = reckoner.line("openai", "gpt-4.1", CHAT_COMPLETIONS, text, size=400)

    # 400 bytes of the line, and 128 around it.
    assert (line.prompt_expected, line.prompt_at_most) == (132, 528)
    assert (line.output_expected, line.output_at_most) == (30, 30)
    free = reckoner.line("openai", "gpt-4.1", CHAT_COMPLETIONS, json.dumps(CHAT).encode())
    assert (free.output_expected, free.output_at_most) == (50, 1000)
    # What was learned is of whole lines; what is assumed, of each answer.
    two = json.dumps({**CHAT, "n": 2}).encode()
    assert reckoner.line("openai", "gpt-4.1", CHAT_COMPLETIONS, two).output_expected == 50
    assumed = Reckoner({("openai", "gpt-4.1"): Basis(50)})
    assert assumed.line("openai", "gpt-4.1", CHAT_COMPLETIONS, two).output_expected == 100
    unknown = Reckoner({("own", "llama"): Basis(50)})
    assert unknown.line("own", "llama", CHAT_COMPLETIONS, two).output_at_most is None


def test_the_tier_of_long_prompts_and_a_cache_are_in_the_bound() -> None:
    price = PriceTable().find("openai", "gpt-6-sol", Processing.BATCH, DAY)
    assert isinstance(price, Price)
    reckoner = Reckoner({("openai", "gpt-6-sol"): Basis(1000, max_output=128_000)})
    body = {"messages": [{"role": "user", "content": "x" * 900_000}], "max_completion_tokens": 10}
    long = reckoner.line("openai", "gpt-6-sol", CHAT_COMPLETIONS, json.dumps(body).encode())
    expected, at_most = reckoner.cost(price, long)
    # Above 272,000 tokens: USD 2 a million in, 7.50 out, 2.50 to write to a cache.
    assert expected == long.prompt_expected * 2_000 + 10 * 7_500
    assert at_most == long.prompt_at_most * 2_500 + 10 * 7_500
    # 100,000 expected tokens, but it might be 300,000: only the bound is dear.
    body["messages"][0]["content"] = "x" * 300_000
    middle = reckoner.line("openai", "gpt-6-sol", CHAT_COMPLETIONS, json.dumps(body).encode())
    expected, at_most = reckoner.cost(price, middle)
    assert expected == middle.prompt_expected * 1_000 + 10 * 5_000
    assert at_most == middle.prompt_at_most * 2_500 + 10 * 7_500


def test_what_is_to_run_in_the_us_is_reckoned_with_what_that_costs() -> None:
    price = PriceTable().find("anthropic", "claude-opus-5", Processing.BATCH, DAY)
    assert isinstance(price, Price)
    reckoner = Reckoner({("anthropic", "claude-opus-5"): Basis(50)})

    def cost(**geo: str) -> tuple[int, int | None]:
        body = json.dumps({**CHAT, "max_tokens": 9, **geo}).encode()
        line = reckoner.line("anthropic", "claude-opus-5", MESSAGES, body, size=1000)
        return reckoner.cost(price, line)

    anywhere, bound = cost(inference_geo="global"), cost(inference_geo="us")
    assert anywhere[1] is not None
    assert bound == (anywhere[0] * 11 // 10, anywhere[1] * 11 // 10)


def test_a_tier_has_no_bound_where_only_the_standard_one_is_priced() -> None:
    table = '[[price]]\nprovider = "openai"\n'
    reckoner = Reckoner({("openai", "gpt-4.1"): Basis(50)})

    def at_most(how: Processing, tier: str, *, stated: str = "", rescued: bool = False) -> bool:
        price = PriceTable(parse_price_file(stated, "f")).find("openai", "gpt-4.1", how, DAY)
        assert isinstance(price, Price)
        body = json.dumps({**CHAT, "max_tokens": 9, "service_tier": tier}).encode()
        line = reckoner.line("openai", "gpt-4.1", CHAT_COMPLETIONS, body)
        return reckoner.cost(price, line, rescued=rescued)[1] is not None

    assert not at_most(Processing.REAL_TIME, "priority")
    assert at_most(Processing.REAL_TIME, "default")
    assert at_most(Processing.BATCH, "priority"), "a batch has no tier"
    assert at_most(Processing.REAL_TIME, "priority", rescued=True), "it is not sent"
    stated = f"{table}input = 3.5\noutput = 14"
    assert at_most(Processing.REAL_TIME, "priority", stated=stated), "the operator knows"
    discount = f"{table}times = 0.85"
    assert not at_most(Processing.REAL_TIME, "priority", stated=discount)
    assert not at_most(Processing.REAL_TIME, "priority", stated=f"{table}web_searches = 5")


def test_what_nobody_has_seen_has_no_bound() -> None:
    reckoner = Reckoner({("openai", "gpt-4.1"): Basis(50, max_output=1000)})
    price = PriceTable().find("openai", "gpt-4.1", Processing.BATCH, DAY)
    assert isinstance(price, Price)

    def at_most(part: dict[str, Any]) -> int | None:
        body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
        return reckoner.cost(price, reckoner.line("openai", "gpt-4.1", CHAT_COMPLETIONS, body))[1]

    link = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert at_most(link) is not None
    assert at_most({"type": "file", "file": {"file_id": "file-1"}}) is None
