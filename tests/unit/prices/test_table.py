"""What holds, where it comes from and since when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from genai_prices import data, types

from core.prices.price_file import BadPricesFile, parse_price_file, read_price_file
from core.prices.rates import Price, Processing, Unpriced
from core.prices.snapshot import BadSnapshot, Snapshot, read_snapshot
from core.prices.table import PriceTable, own_list
from core.prices.usage import Usage

PricedBy = Callable[..., Price]
UnpricedBy = Callable[..., Unpriced]

DAY = date(2026, 11, 28)
MILLION = Usage(input=1_000_000)
DEAL = """
[[price]]
provider = "openai"
model = "gpt-4.1"
processing = "batch"
since = 2026-11-01
input = 0.80
note = "contract 17"
"""


def test_a_price_says_where_each_rate_comes_from(priced: PricedBy) -> None:
    deal, published, standard = priced("openai", "gpt-4.1", file=DEAL).origins
    assert (deal.source, deal.kinds, deal.since) == ("prices file", ("input",), date(2026, 11, 1))
    assert (deal.where, deal.note) == ("prices.toml, line 2", "contract 17")
    assert (published.source, published.kinds) == ("genai-prices 0.2.3", ("output",))
    assert (published.since, published.processing) == (date(2026, 10, 14), Processing.BATCH)
    assert "openai.com" in published.where
    # OpenAI publishes no batch rate of these.
    assert standard.kinds == ("cached_input", "web_searches")
    assert standard.processing is Processing.REAL_TIME


def test_charges_that_no_usage_tells_are_named(priced: PricedBy) -> None:
    assert priced("openai", "gpt-4.1").not_reckoned == ("storage_searches_kcount",)


@pytest.mark.parametrize("how", ["batch", "real_time"])
def test_searches_that_no_usage_of_gemini_tells_are_charged_besides(
    priced: PricedBy, how: str
) -> None:
    price = priced("gemini", "gemini-3.8-flash", how)
    assert "web_searches_kcount" in price.not_reckoned
    assert price.bands[0].rates.web_searches == 0
    own = PRICED_SEARCHES.replace("acme", "gemini")
    assert priced("gemini", "x", how, file=own).bands[0].rates.web_searches == 14_000_000_000_000


PRICED_SEARCHES = """
[[price]]
provider = "acme"
input = 1
output = 1
web_searches = 14
"""


def test_inference_in_the_us_costs_a_tenth_more_at_anthropic(priced: PricedBy) -> None:
    usage = Usage(input=1_000, cached_input=300, cache_write_1h=200, output=100, web_searches=1)
    bound = msgspec.structs.replace(usage, us_inference=1)
    price = priced("anthropic", "claude-opus-5")
    # Half of 5 in, 0.5 read, 10 written and 25 out; a search costs the same anywhere.
    tokens = 500 * 2_500 + 300 * 250 + 200 * 5_000 + 100 * 12_500
    assert price.cost(usage) == tokens + 10_000_000
    assert price.cost(bound) == tokens * 11 // 10 + 10_000_000
    assert price.marked_up(Decimal(2)).cost(bound) == 2 * price.cost(bound)
    other = priced("openai", "gpt-4.1")
    assert other.cost(bound) == other.cost(usage)


def test_a_batch_of_before_keeps_the_price_that_it_was_made_with(priced: PricedBy) -> None:
    price = priced("anthropic", "claude-opus-5")
    snapshot = Snapshot(day=DAY, prices=(price,))
    assert read_snapshot(snapshot.encode()) == snapshot
    old = read_snapshot(snapshot.encode().replace(b'"us_percent":10,', b""))
    [kept] = old.prices
    assert isinstance(kept, Price)
    assert kept.cost(Usage(input=100, us_inference=1)) == price.cost(Usage(input=100))


def test_a_price_is_that_of_the_day(priced: PricedBy) -> None:
    for day, nano in ((date(2026, 7, 29), 250_000_000), (DAY, 200_000_000)):
        price = priced("openai", "gpt-5.6-terra", "real_time", day=day)
        assert price.cost(Usage(input=100_000)) == nano
    introductory = priced("gemini", "gemini-3.8-flash").cost(MILLION)
    later = priced("gemini", "gemini-3.8-flash", day=date(2027, 1, 1)).cost(MILLION)
    assert (introductory, later) == (375_000_000, 750_000_000)


def test_an_introductory_price_ends(priced: PricedBy, unpriced: UnpricedBy) -> None:
    assert priced("gemini", "gemini-3.7-flash", day=date(2026, 12, 31)).cost(MILLION) == 375_000_000
    assert "no batch rate" in unpriced("gemini", "gemini-3.7-flash", day=date(2027, 1, 1)).reason


def test_an_override_counts_from_its_day_and_way_of_processing_on(priced: PricedBy) -> None:
    before = priced("openai", "gpt-4.1", day=date(2026, 10, 31), file=DEAL)
    assert before.cost(MILLION) == 1_000_000_000
    assert priced("openai", "gpt-4.1", file=DEAL).cost(MILLION) == 800_000_000
    assert priced("openai", "gpt-4.1", "real_time", file=DEAL).cost(MILLION) == 2_000_000_000


def test_a_name_comes_before_a_pattern_and_a_later_day_before_an_earlier(
    priced: PricedBy,
) -> None:
    file = """
        [[price]]
        provider = "acme"
        model = "Rocket-*"
        since = 2026-11-02
        input = 4
        [[price]]
        provider = "acme"
        model = "rocket-1"
        since = 2026-02-01
        input = 2
        [[price]]
        provider = "acme"
        model = "rocket-1"
        since = 2026-01-01
        input = 1
        [[price]]
        provider = "acme"
        model = "rocket-1"
        since = 2027-01-01
        input = 3
    """
    assert priced("acme", "rocket-1", file=file).cost(MILLION) == 2_000_000_000
    assert priced("acme", "ROCKET-2", file=file).cost(MILLION) == 4_000_000_000


def test_an_own_server_with_tiers(priced: PricedBy) -> None:
    file = """
        [[price]]
        provider = "acme"
        input = 0.2
        output = 0.8
        above = [{ prompt_tokens = 1_000, input = 0.4 }, { prompt_tokens = 500, output = 1.6 }]
    """
    price = priced("acme", "anything", "real_time", file=file)
    assert price.cost(Usage(input=500, output=10)) == 100_000 + 8_000
    assert price.cost(Usage(input=501, output=10)) == 100_200 + 16_000
    assert price.cost(Usage(input=1_001, output=10)) == 400_400 + 16_000
    # Kinds without a rate of their own are not free.
    assert price.cost(Usage(input=500, cached_input=400, audio_input=100)) == 100_000


def test_half_a_batch_rate_is_none(priced: PricedBy, unpriced: UnpricedBy) -> None:
    """Else the answer, which costs most, would be at the real-time rate."""
    file = '[[price]]\nprovider = "openai"\nmodel = "gpt-audio-mini"\ninput = 0.3'
    assert "no batch rate" in unpriced("openai", "gpt-audio-mini", file=file).reason
    price = priced("openai", "gpt-audio-mini", file=f"{file}\noutput = 1.2")
    assert price.cost(Usage(input=1_000, output=100)) == 300_000 + 120_000


def test_a_factor_on_what_is_published(priced: PricedBy, unpriced: UnpricedBy) -> None:
    file = '[[price]]\nprovider = "openai"\ntimes = 0.85'
    price = priced("openai", "gpt-4.1", file=file)
    assert price.cost(Usage(input=1_000_000, cached_input=500_000)) == 425_000_000 + 212_500_000
    assert price.origins[0].note == "all rates times 0.85"
    assert "no batch rate" in unpriced("openai", "gpt-audio-mini", file=file).reason


def test_a_provider_of_another_name_has_the_prices_of_the_one_it_is_like(
    priced: PricedBy, unpriced: UnpricedBy
) -> None:
    assert "does not know the provider" in unpriced("mistral-eu", "codestral-2508").reason
    price = priced("mistral-eu", "codestral-2508", file='[like]\nmistral-eu = "mistral"')
    assert (price.provider, price.cost(MILLION)) == ("mistral-eu", 150_000_000)


def test_prices_that_no_token_count_can_follow_are_unpriced(unpriced: UnpricedBy) -> None:
    assert "hour of the day" in unpriced("deepseek", "deepseek-chat", "real_time").reason
    assert "each request" in unpriced("perplexity", "sonar", "real_time").reason


def test_what_is_known_to_be_free_is_priced(priced: PricedBy) -> None:
    price = priced("openai", "omni-moderation-latest")
    assert price.cost(MILLION) == 0
    assert price.origins[0].note == "free of charge"


def test_our_own_list_names_its_sources() -> None:
    entries = own_list().price
    assert entries
    assert all(each.source.startswith("https://") for each in entries)
    # A factor on somebody else's rate would be a guess.
    assert all(each.times is None for each in entries)


def test_marked_up_by_account() -> None:
    file = "[markup]\ndefault = 1.1\n[markup.accounts]\nhouse = 1\nretail = 1.25\ndear = 10"
    table = PriceTable(parse_price_file(file, "prices.toml"))
    asked = [("openai", "gpt-4.1", Processing.BATCH), ("acme", "x", Processing.BATCH)]
    costs = {}
    for account in ("house", "retail", "dear", "another"):
        snapshot = table.snapshot(asked, DAY, account)
        price = snapshot.price("openai", "gpt-4.1", Processing.BATCH)
        assert isinstance(price, Price)
        costs[account, price.markup] = price.cost(MILLION)
        assert [each.provider for each in snapshot.unpriced()] == ["acme"]
    assert costs == {
        ("house", "1"): 1_000_000_000,
        ("retail", "1.25"): 1_250_000_000,
        ("dear", "10"): 10_000_000_000,
        ("another", "1.1"): 1_100_000_000,
    }


def test_the_file_is_read_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    table = PriceTable(read_price_file(path, required=False))
    assert isinstance(table.find("acme", "x", Processing.BATCH, DAY), Unpriced)
    with pytest.raises(BadPricesFile, match=r"prices\.toml.*No such file"):
        read_price_file(path, required=True)
    path.write_text('[[price]]\nprovider = "acme"\ninput = 1')
    table = PriceTable(read_price_file(path, required=False), str(path))
    found = table.find("acme", "x", Processing.BATCH, DAY)
    assert isinstance(found, Price)
    assert found.origins[0].where == f"{path}, line 1"


STORED = b"""{"form": 1, "day": "2026-11-28", "prices": [
 {"type": "priced", "provider": "openai", "model": "old-1", "processing": "batch",
  "day": "2026-11-28", "markup": "1.1", "not_reckoned": ["storage_searches_kcount"],
  "bands": [
   {"above": -1, "rates": {"input": 1100000000, "cached_input": 110000000,
     "cache_write_5m": 1375000000, "cache_write_1h": 2200000000, "output": 5500000000,
     "reasoning": 5500000000, "audio_input": 9900000000, "audio_output": 11000000000,
     "image_input": 3300000000, "image_output": 16500000000, "cached_audio_input": 990000000,
     "cached_image_input": 330000000, "web_searches": 11000000000000}},
   {"above": 200000, "rates": {"input": 2200000000, "cached_input": 220000000,
     "cache_write_5m": 2750000000, "cache_write_1h": 4400000000, "output": 8250000000,
     "reasoning": 8250000000, "audio_input": 9900000000, "audio_output": 11000000000,
     "image_input": 3300000000, "image_output": 16500000000, "cached_audio_input": 990000000,
     "cached_image_input": 330000000, "web_searches": 11000000000000}}],
  "origins": [{"source": "genai-prices 0.2.3", "kinds": ["input", "output"],
   "processing": "batch", "since": "2026-10-14", "where": "https://example.org", "note": ""}]},
 {"type": "unpriced", "provider": "acme", "model": "x", "processing": "real_time",
  "day": "2026-11-28", "reason": "genai-prices 0.2.3 does not know the provider"}]}"""


def test_stored_prices_price_the_same_for_ever() -> None:
    """The bytes are those of a batch of the past: if this fails, old batches change."""
    snapshot = read_snapshot(STORED)
    price = snapshot.price("openai", "old-1", Processing.BATCH)
    assert isinstance(price, Price)
    everything = Usage(
        input=1_000,
        cached_input=300,
        cache_write_5m=100,
        cache_write_1h=50,
        output=400,
        reasoning=100,
        audio_input=200,
        audio_output=90,
        image_input=150,
        image_output=60,
        cached_audio_input=80,
        cached_image_input=70,
        web_searches=2,
    )
    # Nothing of the prompt is left for the plain rate but 350; of the answer 250 are.
    by_hand = (
        350 * 1_100 + 150 * 110 + 80 * 990 + 70 * 330 + 100 * 1_375 + 50 * 2_200
        + 120 * 9_900 + 80 * 3_300 + 250 * 5_500 + 90 * 11_000 + 60 * 16_500 + 2 * 11_000_000
    )  # fmt: skip
    assert price.cost(everything) == by_hand
    assert price.cost(Usage(input=200_001, output=1)) == 200_001 * 2_200 + 8_250
    assert isinstance(snapshot.price("acme", "x", Processing.REAL_TIME), Unpriced)
    assert read_snapshot(snapshot.encode()) == snapshot


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"\xff", STORED.replace(b'"form": 1', b'"form": 2')])
def test_stored_prices_of_another_form_are_refused(raw: bytes) -> None:
    with pytest.raises(BadSnapshot):
        read_snapshot(raw)


def test_a_model_that_is_not_of_the_batch() -> None:
    with pytest.raises(KeyError):
        Snapshot(day=DAY, prices=()).price("openai", "gpt-4.1", Processing.BATCH)


def test_every_kind_is_priced_as_genai_prices_does() -> None:
    """Our arithmetic beside the library's own, for all its models that have a price by token."""
    table, compared = PriceTable(), 0
    counts = {"input_tokens": 250_000, "cache_read_tokens": 70_001, "output_tokens": 3_333}
    usage = Usage(input=250_000, cached_input=70_001, output=3_333)
    for name in ("openai", "anthropic", "google", "mistral", "groq"):
        provider = next(each for each in data.providers if each.id == name)
        for model in provider.models:
            if provider.find_model(model.id) is not model:
                continue
            found = table.find(
                "gemini" if name == "google" else name, model.id, Processing.REAL_TIME, DAY
            )
            if not isinstance(found, Price) or found.origins[0].source == "polybatch":
                continue
            theirs = model.calc_price(
                types.Usage(**counts),
                provider,
                genai_request_timestamp=datetime(2026, 11, 28, 12, tzinfo=UTC),
            )
            if found.bands[0].rates.output and "output" in found.origins[0].kinds:
                compared += 1
                assert abs(found.cost(usage) - theirs.total_price * 10**9) <= 0.5, model.id
    assert compared > 150
