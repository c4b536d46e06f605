"""Prices: ListPrices, what is kept with a batch, and prices files that cannot be used."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from google.type import date_pb2
from polybatch.v1 import prices_pb2, prices_pb2_grpc

from core.prices.rates import Price, Processing, Unpriced
from core.prices.snapshot import Snapshot, read_snapshot
from core.serving import StartupError
from tests.support.gateway.running import Caller, Gateway, StartGateway, line, refused

LOCAL = """
[local]
kind = "openai-direct"
base_url = "http://127.0.0.1:9/v1"
"""

PRICES = """
[[price]]
provider = "local"
input = 0.25
output = 1

[[price]]
provider = "openai"
model = "gpt-4.1"
processing = "batch"
since = 2026-01-01
input = 0.123456789
note = "contract 17"

[markup.accounts]
retail = 2
"""

BATCH, REAL_TIME = prices_pb2.PROCESSING_BATCH, prices_pb2.PROCESSING_REAL_TIME
Shown = dict[tuple[str, str, int], prices_pb2.Price]


@pytest.fixture
async def priced(start_gateway: StartGateway, tmp_path: Path) -> Gateway:
    """A gateway with prices of its own."""
    (tmp_path / "providers.toml").write_text(LOCAL)
    (tmp_path / "own.toml").write_text(PRICES)
    return await start_gateway(
        providers_file=tmp_path / "providers.toml", prices_file=tmp_path / "own.toml"
    )


def prices(gateway: Gateway, caller: Caller, model: str = "", **fields: object) -> object:
    stub = prices_pb2_grpc.PriceServiceStub(gateway.channel)  # type: ignore[no-untyped-call]
    request = prices_pb2.ListPricesRequest(model=model, **fields)
    return stub.ListPrices(request, metadata=caller.metadata)


async def listed(gateway: Gateway, model: str = "", caller: Caller | None = None) -> Shown:
    reply = await prices(gateway, caller or gateway, model)
    return {(each.provider, each.model, each.processing): each for each in reply.prices}


def usd(price: prices_pb2.Price, kind: str, band: int = 0) -> Decimal:
    money = price.bands[band].per_million[kind]
    assert money.currency_code == "USD"
    return money.units + Decimal(money.nanos).scaleb(-9)


async def kept(gateway: Gateway, batch_id: str) -> Snapshot:
    raw = await gateway.ledger.batches.prices(batch_id)
    assert raw is not None
    return read_snapshot(raw)


async def test_a_price_says_where_it_comes_from(priced: Gateway) -> None:
    found = await listed(priced, "openai/gpt-4.1")
    assert list(found) == [("openai", "gpt-4.1", BATCH), ("openai", "gpt-4.1", REAL_TIME)]
    batch, real_time = found.values()
    assert usd(batch, "input") == Decimal("0.123456789"), "to the nano-dollar"
    # https://developers.openai.com/api/docs/pricing: 8.00 USD, in batches 4.00.
    assert (usd(batch, "output"), usd(real_time, "output")) == (4, 8)
    own, published = batch.origins[0], real_time.origins[0]
    assert (own.source, list(own.kinds), own.note) == ("prices file", ["input"], "contract 17")
    assert own.where == "own.toml, line 7", "not where the file lies"
    assert own.since == date_pb2.Date(year=2026, month=1, day=1)
    assert published.source.startswith("genai-prices ")
    assert "input" in published.kinds
    assert "reasoning" not in batch.bands[0].per_million, "it costs as the answer it is part of"


async def test_long_prompts_have_bands(priced: Gateway) -> None:
    price = (await listed(priced, "gpt-5.4"))["openai", "gpt-5.4", BATCH]
    first, second = price.bands
    assert not first.HasField("above_prompt_tokens")
    assert second.above_prompt_tokens == 272_000
    assert usd(price, "input", 1) > usd(price, "input", 0)


async def test_all_models_are_listed_priced_or_with_the_reason(priced: Gateway) -> None:
    found = await listed(priced)
    assert {"openai", "anthropic", "gemini", "mistral", "local"} >= {name for name, *_ in found}
    assert usd(found["local", "*", REAL_TIME], "input") == Decimal("0.25")
    assert ("local", "*", BATCH) not in found, "it has no batches"
    for each in found.values():
        assert bool(each.unpriced) != bool(each.bands and each.origins), each.model
    tuned = await listed(priced, "openai/ft:gpt-4o:org::id")
    assert len(tuned) == 2
    assert all("does not know the model" in each.unpriced for each in tuned.values())


async def test_names_are_those_of_lines(priced: Gateway) -> None:
    assert list(await listed(priced, "anthropic/claude-4.5-sonnet")) == [
        ("anthropic", "claude-sonnet-4-5-20250929", BATCH),
        ("anthropic", "claude-sonnet-4-5-20250929", REAL_TIME),
    ]
    # Without a provider, as in a line: whoever says nothing of its models may have it.
    assert list(await listed(priced, "llama3.2")) == [("local", "llama3.2", REAL_TIME)]


async def test_what_cannot_be_listed_is_refused(gateway: Gateway) -> None:
    nobody = await refused(prices(gateway, gateway, "llama3.2"))
    assert nobody.reason == "MODEL_NOT_FOUND"
    assert '"openai/llama3.2"' in nobody.message
    for fields in ({"day": date_pb2.Date(year=2026, month=2, day=30)}, {"model": "m" * 513}):
        wrong = await refused(prices(gateway, gateway, **fields))
        assert (wrong.reason, wrong.violations[0][0]) == ("INVALID_FIELD", *fields)


async def test_a_day_in_the_past_has_its_own_price(priced: Gateway) -> None:
    before = date_pb2.Date(year=2025, month=12, day=31)
    reply = await prices(priced, priced, "openai/gpt-4.1", day=before)
    assert {each.day.year for each in reply.prices} == {2025}
    assert "prices file" not in {origin.source for p in reply.prices for origin in p.origins}


async def test_a_batch_keeps_the_prices_of_what_it_sends(
    priced: Gateway, start_gateway: StartGateway, tmp_path: Path
) -> None:
    content = b"\n".join(
        [
            line("1"),
            line("2", body=json.loads(line())["body"] | {"model": "gpt-4.1"}),
            line("3", provider="local", body=json.loads(line())["body"] | {"model": "llama"}),
            line("4", body=json.loads(line())["body"] | {"model": "secret-model"}),
            # Never sent, so not priced.
            line("5", provider="anthropic"),
        ]
    )
    batch = await priced.submit(content, skip_invalid_lines=True, request_id="again")
    snapshot = await kept(priced, batch.id)
    assert snapshot.day == batch.created_at.ToDatetime().date()
    assert [(each.provider, each.model, each.processing) for each in snapshot.prices] == [
        ("local", "llama", Processing.REAL_TIME),
        ("openai", "gpt-4.1", Processing.BATCH),
        ("openai", "secret-model", Processing.BATCH),
    ], "one of two names of a model, without a provider that no line goes to"
    local, openai, unknown = snapshot.prices
    assert isinstance(local, Price)
    assert isinstance(openai, Price)
    assert (local.bands[0].rates.input, openai.bands[0].rates.input) == (250_000_000, 123_456_789)
    assert isinstance(unknown, Unpriced)
    # Other prices from then on are of no account to it, not even where it is asked for again.
    (tmp_path / "dear.toml").write_text('[[price]]\nprovider = "openai"\ninput = 99')
    dearer = await start_gateway(
        prices_file=tmp_path / "dear.toml", providers_file=tmp_path / "providers.toml"
    )
    again = await dearer.submit(content, skip_invalid_lines=True, request_id="again")
    assert again.id == batch.id
    assert await kept(dearer, batch.id) == snapshot
    new = await kept(dearer, (await dearer.submit(line())).id)
    price = new.price("openai", "gpt-4.1", Processing.BATCH)
    assert isinstance(price, Price)
    assert price.bands[0].rates.input == 99_000_000_000


async def test_a_mark_up_is_the_accounts_own(priced: Gateway) -> None:
    retail = await priced.another_account("retail")
    ours = (await listed(priced, "local/m"))["local", "m", REAL_TIME]
    theirs = (await listed(priced, "local/m", retail))["local", "m", REAL_TIME]
    assert (usd(ours, "input"), usd(theirs, "input")) == (Decimal("0.25"), Decimal("0.5"))
    assert (ours.markup, theirs.markup) == ("1", "2")
    (price,) = (await kept(priced, (await retail.submit(line())).id)).prices
    assert isinstance(price, Price)
    assert (price.markup, price.bands[0].rates.input) == ("2", 246_913_578)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[price]]\nprovider = "openai"\ninptu = 1', r"own\.toml, line 3, price\.inptu: "),
        (None, r"own\.toml.*No such file"),
    ],
)
async def test_a_bad_prices_file_ends_the_start(
    start_gateway: StartGateway, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "own.toml").write_text(text)
    with pytest.raises(StartupError, match=f"the prices file cannot be used: .*{said}"):
        await start_gateway(prices_file=tmp_path / "own.toml")
