"""Estimates: EstimateBatch, what is kept with a batch, and files without totals."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2

from core.failpoints import Failpoint
from core.ledger import Files, LedgerUnavailable
from services.gateway import file_totals
from tests.support.gateway.running import Gateway, StartGateway, line, lines, refused
from tests.support.ledger.rows import reread
from tests.support.media import data_url, png

LOCAL = """
[local]
kind = "openai-direct"
base_url = "http://127.0.0.1:9/v1"
"""


def asking(model: str, *, provider: str = "openai", text: str = "Hi", **more: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return line(f"{model}-{len(text)}-{sorted(more)}", provider=provider, body=body) + b"\n"


async def estimated(gateway: Gateway, file_id: str, **options: Any) -> batches_pb2.BatchEstimate:
    request = batches_pb2.EstimateBatchRequest(input_file_id=file_id, **options)
    return await gateway.batches.EstimateBatch(request, metadata=gateway.metadata)


def usd(money: Money) -> Decimal:
    return money.units + Decimal(money.nanos).scaleb(-9)


async def test_an_estimate_says_what_each_model_will_cost(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    (tmp_path / "providers.toml").write_text(LOCAL)
    gateway = await start_gateway(
        providers_file=tmp_path / "providers.toml", assumed_output_tokens=100
    )
    cheap = asking("gpt-4.1-mini", max_tokens=40) + asking("gpt-4.1-mini", text="Ho!", max_tokens=4)
    dear = asking("claude-opus-4-8", provider="anthropic", text="x" * 4000)
    own = asking("llama", provider="local")
    file = (await gateway.upload(cheap + dear + own)).file

    found = await estimated(gateway, file.id)

    assert found.line_count == 4
    assert [each.model for each in found.models] == ["claude-opus-4-8", "gpt-4.1-mini", "llama"]
    claude, mini, llama = found.models
    assert mini.range.output_tokens_expected == mini.range.output_tokens_at_most == 44
    size = len(cheap) - 2 + 2 * 128
    tokens = mini.range.prompt_tokens_expected
    assert abs(tokens - size / 3) <= 1
    assert mini.range.prompt_tokens_at_most == size
    # USD 0.20 in and 0.80 out a million in batches, and twice that in real time.
    cost = Decimal(tokens * 200 + 44 * 800).scaleb(-9)
    assert usd(mini.range.expected) == cost
    assert usd(mini.range.real_time_expected) == 2 * cost
    assert claude.range.output_tokens_at_most == 128_000
    assert usd(claude.range.at_most) > usd(claude.range.expected)
    assert "3.0 bytes of text a token" in mini.basis
    assert "answers of 100 tokens, as assumed" in mini.basis
    # Its price is not known, nor how long its answers may be: so nor is the whole's.
    assert llama.unpriced.startswith("local llama has no price")
    assert llama.unlimited_line_count == 1
    assert not llama.range.HasField("expected")
    assert not found.total.HasField("expected")
    assert found.total.output_tokens_at_most == 0


async def test_a_batch_keeps_what_it_was_expected_to_cost(gateway: Gateway) -> None:
    content = asking("gpt-4.1", max_tokens=10) + asking("gpt-4.1")
    file = (await gateway.upload(content)).file
    found = await estimated(gateway, file.id)

    batch = await gateway.create(file.id)

    row = await reread(gateway.ledger, batch)
    assert row.expected_nanos == int(usd(found.total.expected).scaleb(9))
    assert row.at_most_nanos == int(usd(found.total.at_most).scaleb(9))
    unlimited = (await gateway.upload(asking("gpt-9"))).file
    row = await gateway.ledger.batches.get((await gateway.create(unlimited.id)).id)
    assert (row.expected_nanos, row.at_most_nanos) == (None, None)


async def test_the_most_that_a_batch_may_cost_is_kept_and_is_an_argument(gateway: Gateway) -> None:
    file = (await gateway.upload(line() + b"\n")).file
    order = {"request_id": "r1", "max_cost": Money(currency_code="USD", units=1, nanos=5)}
    batch = await gateway.create(file.id, **order)
    assert usd(batch.cost.max_cost) == Decimal("1.000000005")
    assert batch == await gateway.create(file.id, **order)
    again = gateway.create(file.id, request_id="r1")
    assert (await refused(again)).reason == "REQUEST_ID_REUSED"
    for wrong, said in (
        ({"units": -1}, "USD"),
        ({"currency_code": "EUR"}, "USD"),
        ({"nanos": 10**9}, "nanos"),
    ):
        amount = Money(**({"currency_code": "USD"} | wrong))
        failure = await refused(gateway.create(file.id, max_cost=amount))
        [(field, expected)] = failure.violations
        assert field == "max_cost"
        assert said in expected


async def test_a_file_without_totals_is_read_once(gateway: Gateway) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url(png(300, 200), "image/png")}}
    image = {"model": "gpt-4o", "messages": [{"role": "user", "content": [part]}]}
    content = (
        lines(50, size=700)
        + line("image", body=image)
        + b"\n"
        + line("stopped", body={**image, "messages": 1})
        + b"\n"
        + asking("claude-opus-4-8", provider="anthropic", max_tokens=9, logit_bias={"1": 1})
    )
    file = (await gateway.upload(content)).file
    [before, lenient] = [
        await estimated(gateway, file.id, lenient_translation=each) for each in (False, True)
    ]
    assert (before.line_count, lenient.line_count) == (51, 52)
    batch = await gateway.create(file.id, skip_invalid_lines=True)
    made = await reread(gateway.ledger, batch)
    row = await gateway.ledger.files.get_input(made)
    assert row is not None
    # As of a release that made none.
    key = f"{row.prefix}/totals"
    stored = await gateway.blobs.get(key)
    await gateway.blobs.delete([key], point=Failpoint.FILE_TOTALS)

    assert await estimated(gateway, file.id) == before
    assert await estimated(gateway, file.id, lenient_translation=True) == lenient
    assert sorted(json.loads(await gateway.blobs.get(key))) == sorted(json.loads(stored))


async def test_lines_whose_id_came_before_cost_nothing(gateway: Gateway) -> None:
    once = (await gateway.upload(line("a") + b"\n" + line("b") + b"\n")).file
    twice = (await gateway.upload(line("a") + b"\n" + line("b") + b"\n" + line("a") + b"\n")).file

    found = await estimated(gateway, twice.id)

    assert found.line_count == 2
    assert found.total == (await estimated(gateway, once.id)).total


async def test_there_is_no_estimate_of_nothing(gateway: Gateway) -> None:
    failure = await refused(estimated(gateway, "file_1"))
    assert failure.reason == "FILE_NOT_FOUND"
    file = (await gateway.upload(line(custom_id=...) + b"\n")).file
    assert (await refused(estimated(gateway, file.id))).reason == "NO_VALID_LINES"
    file = (await gateway.upload(b"id,text\n1,Hi\n")).file
    assert (await refused(estimated(gateway, file.id))).reason == "NOT_JSON_LINES"
    assert (await refused(estimated(gateway, ""))).reason == "INVALID_FIELD"


@pytest.mark.parametrize("asked", [{"max_tokens": 10**30}, {"max_tokens": 2**63 - 1}], ids=str)
async def test_a_limit_beyond_all_models_is_none(gateway: Gateway, asked: dict[str, int]) -> None:
    file = (await gateway.upload(asking("gpt-4.1", **asked))).file
    found = await estimated(gateway, file.id)
    assert usd(found.total.expected) > 0
    batch = await gateway.create(file.id)
    assert usd(batch.cost.expected) == usd(found.total.expected)


@pytest.mark.parametrize("known", [True, False])
async def test_a_file_that_is_deleted_as_it_is_read_keeps_no_totals(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """`known`: else the ledger is away just then."""
    file = (await gateway.upload(lines(3))).file
    account = (await gateway.ledger.accounts.list_keys())[0][0].account_id
    row = await gateway.ledger.files.get(account, file.id)
    assert row is not None
    await gateway.blobs.delete([f"{row.prefix}/totals"], point=Failpoint.FILE_TOTALS)
    read = file_totals._read

    async def away(*_asked: object) -> None:
        raise LedgerUnavailable("away")

    async def deleted(*args: Any) -> Any:
        sums = await read(*args)
        await gateway.delete(file.id)
        if not known:
            monkeypatch.setattr(Files, "get", away)
        return sums

    monkeypatch.setattr(file_totals, "_read", deleted)
    failure = await refused(estimated(gateway, file.id))
    assert failure.reason == ("FILE_NOT_FOUND" if known else "LEDGER_UNAVAILABLE")
    assert await gateway.blobs.list(row.prefix) == []
