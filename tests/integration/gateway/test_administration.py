"""Keys, accounts and usage by the command line and by both clients, on the real gateway."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import structlog
from polybatch import (
    AsyncClient,
    Budget,
    BudgetPeriod,
    Client,
    Funding,
    InvalidRequest,
    KeyScope,
    NotFound,
    PermissionDenied,
)
from polybatch.cli import main

from core.ledger import Scope, now
from tests.support.gateway.accounts import holder
from tests.support.gateway.running import Gateway, line
from tests.support.ledger.rows import add_rows, usage_row

DOCS = Path(__file__).parents[3] / "docs" / "keys.md"
_SECRET = re.compile(r"pb_[\w-]{32,}")


@dataclass
class Done:
    code: int
    out: str
    err: str


Cli = Callable[..., Awaitable[Done]]


@pytest.fixture
async def cli(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Cli]:
    """Runs the command in this process; what the gateway logs meanwhile is kept apart."""
    monkeypatch.setenv("POLYBATCH_GATEWAY", gateway.settings.gateway_listen)
    monkeypatch.setenv("POLYBATCH_DATA_DIR", str(gateway.settings.data_dir))
    monkeypatch.delenv("POLYBATCH_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)

    async def run(*arguments: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = await asyncio.to_thread(main, arguments)
        return Done(code, out.getvalue(), err.getvalue())

    with structlog.testing.capture_logs() as logs:
        yield run
    assert not _SECRET.search(str(logs)), "no key stands in the log"


async def test_the_documented_commands(cli: Cli, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) > 10
    for command in commands:
        words = shlex.split(command)
        assert words.pop(0) == "polybatch"
        words, target = (words[:-2], words[-1]) if words[-2] == ">" else (words, "")
        done = await cli(*words)
        assert (done.code, done.out != "") == (0, True), (command, done)
        assert target or not _SECRET.search(done.out + done.err), "it is shown once"
        if target:
            (tmp_path / target).write_text(done.out)
    current = json.loads((await cli("keys", "current", "--json", "--api-key-file", "ci.key")).out)
    assert (current["key"]["name"], current["key"]["budget"]["period"]) == ("ci", "month")
    assert current["account"]["balance"] is None


async def test_keys(cli: Cli) -> None:
    made = await cli("keys", "create", "ci", "--scope", "batch", "--budget", "12.5")
    assert _SECRET.fullmatch(made.out.strip()), "for KEY=$(polybatch keys create)"
    key_id = re.search(r"key_\w+", made.err)
    assert key_id is not None
    assert made.out.strip() not in made.err
    listed = (await cli("keys", "list")).out.splitlines()
    assert listed[0].split() == ["ID", "NAME", "SCOPE", "STATE", "CREATED", "BUDGET", "ALLOWED"]
    (row,) = [each for each in listed if key_id[0] in each]
    assert "12.50 USD in all, 0.00 spent" in row
    update = ("keys", "update", key_id[0])
    shown = await cli(*update, "--monthly", "0.000000001", "--model", "gpt-5*", "--model", "o3")
    assert ["budget", "0.000000001", "USD", "a", "month,"] in [
        each.split()[:5] for each in shown.out.splitlines()
    ]
    free = json.loads((await cli(*update, "--no-budget", "--all-models", "--json")).out)
    assert (free["budget"], free["allowed_models"], free["name"]) == (None, [], "ci")
    assert (await cli("keys", "revoke", key_id[0])).out == f"{key_id[0]} revoked\n"
    for arguments, code, said in (
        (update, 2, "nothing to change"),
        ((*update, "--budget", "1", "--monthly", "1"), 2, "choose one"),
        ((*update, "--budget", "1", "--no-budget"), 2, "choose one"),
        ((*update, "--budget", "a lot"), 2, "12.50"),
        ((*update, "--budget", "1e12"), 2, "12.50"),
        (("keys", "revoke", "key_none"), 1, "polybatch keys list"),
        (("keys", "create", "--scope", "operator"), 1, "SCOPE_MISSING"),
        (("keys", "create", "--provider", "opnai"), 2, "anthropic, gemini"),
        (("admin", "keys", "create"), 2, "--account"),
        (("admin", "accounts", "show", "nobody"), 1, "polybatch admin accounts list"),
    ):
        done = await cli(*arguments)
        assert done.code == code, (arguments, done)
        assert said in done.err, (arguments, done)


async def test_credits(cli: Cli) -> None:
    await cli("admin", "accounts", "create", "team")
    for amount in ("1234567.000000001", "-5", "8000000"):
        assert (await cli("admin", "grant", "team", amount)).code == 0
    shown = (await cli("admin", "accounts", "show", "team")).out
    assert "9234562.000000001 USD" in shown
    raw = (await cli("admin", "accounts", "show", "team", "--json")).out
    assert json.loads(raw, parse_float=Decimal)["free"] == Decimal("9234562.000000001")
    postings = (await cli("admin", "postings", "team")).out.splitlines()
    assert [row.split()[3] for row in postings[1:]] == [
        *("8000000.00", "-5.00", "1234567.000000001"),
    ]
    other = await cli("admin", "accounts", "list", "--api-key-file", "data/api-key")
    assert (other.code, "SCOPE_MISSING" in other.err) == (1, True)


async def test_usage(gateway: Gateway, cli: Cli, tmp_path: Path) -> None:
    boss = await holder(gateway, "team", "lead", scope=Scope.ACCOUNT)
    (tmp_path / "key").write_text(boss.secret)
    account = (await boss.call("GetCurrentKey")).account.id
    today = now().date()
    rows = [(boss.key_id, 10**9), ("", 5), (boss.key_id, 1)]
    await add_rows(
        gateway.ledger,
        *(usage_row(today, nanos, account_id=account, key_id=key) for key, nanos in rows),
    )
    mine = ("--api-key-file", "key")
    days = (await cli("usage", *mine)).out.splitlines()
    assert [row.split() for row in days] == [
        ["DAY", "LINES", "UNPRICED", "INPUT", "CACHED", "OUTPUT", "USD"],
        [str(today), "3", "0", "30", "0", "6", "1.000000006"],
        ["total", "3", "0", "30", "0", "6", "1.000000006"],
    ]
    written = (await cli("usage", "--by", "key", "--csv", *mine)).out
    table = list(csv.DictReader(io.StringIO(written)))
    assert [(row["key_id"], row["key"], row["cost_usd"]) for row in table] == [
        ("", "", "0.000000005"),
        (boss.key_id, "lead", "1.000000001"),
    ]
    assert table[1]["lines"] == "2"
    entry = json.loads((await cli("usage", "--by", "month", "--json", *mine)).out)
    assert (entry["month"], entry["cost"]) == (f"{today:%Y-%m}", 1.000000006)
    assert "team" in (await cli("admin", "usage", "--by", "account")).out
    assert (await cli("usage", "--by", "colour")).code == 2
    assert (await cli("usage", "--csv", "--json")).code == 2


class Both:
    """One of the clients; calls are awaited, listings are collected."""

    def __init__(self, kind: type[Client] | type[AsyncClient], gateway: Gateway) -> None:
        self._kind = kind
        self._gateway = gateway

    async def call(self, secret: str, name: str, /, *args: Any, **kwargs: Any) -> Any:
        options: dict[str, Any] = {"gateway": self._gateway.settings.gateway_listen}
        options |= {"api_key": secret, "wait": 0}
        if self._kind is AsyncClient:
            async with AsyncClient(**options) as client:
                found = attrgetter(name)(client)(*args, **kwargs)
                return [each async for each in found] if _many(found) else await found

        def run() -> Any:
            with Client(**options) as client:
                found = attrgetter(name)(client)(*args, **kwargs)
                return list(found) if _many(found) else found

        return await asyncio.to_thread(run)


def _many(found: Any) -> bool:
    return hasattr(found, "__anext__") or hasattr(found, "__next__")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_the_clients(gateway: Gateway, kind: type[Client] | type[AsyncClient]) -> None:
    both, root = Both(kind, gateway), gateway.settings.operator_key_file.read_text().strip()
    account = await both.call(root, "accounts.create", "team", funding=Funding.PREPAID)
    assert (account.funding, account.balance, account.budget) == (Funding.PREPAID, 0, None)
    after, posting = await both.call(root, "accounts.grant", "team", "0.1", request_id="r")
    again, _ = await both.call(root, "accounts.grant", "team", Decimal("0.1"), request_id="r")
    assert again.balance == after.balance == posting.balance == Decimal("0.1")
    assert [each.reason for each in await both.call(root, "accounts.postings", "team")] == [
        posting.reason
    ]
    with pytest.raises(InvalidRequest, match="amount is a float"):
        await both.call(root, "accounts.grant", "team", 0.1)
    limits = await both.call(root, "accounts.update", "team", budget=Budget(Decimal(9)))
    assert (limits.funding, limits.budget.amount) == (Funding.PREPAID, 9)
    assert await both.call(root, "accounts.get", account.id) == limits
    assert limits in await both.call(root, "accounts.list", page_size=1)
    lead = await both.call(root, "keys.create", "lead", scope=KeyScope.ACCOUNT, account="team")
    assert lead.secret not in repr(lead)
    monthly = Budget(Decimal("20.5"), BudgetPeriod.MONTH)
    ci = await both.call(
        lead.secret, "keys.create", "ci", budget=monthly, allowed_models=["gpt-4*"]
    )
    assert (ci.key.scope, ci.key.budget.amount) == (KeyScope.BATCH, Decimal("20.5"))
    changed = await both.call(lead.secret, "keys.update", ci.key.id, name="ci 2", budget=None)
    assert (changed.name, changed.budget, changed.allowed_models) == ("ci 2", None, ("gpt-4*",))
    current = await both.call(ci.secret, "keys.current")
    assert (current.key, current.account.balance) == (changed, None)
    batch = await both.call(lead.secret, "submit", [line().decode()], key_id=ci.key.id)
    assert batch.key_id == ci.key.id
    assert await both.call(lead.secret, "keys.list", page_size=1) == [lead.key, changed]
    with pytest.raises(PermissionDenied) as caught:
        await both.call(ci.secret, "keys.list")
    assert caught.value.metadata["needed"] == "account"
    assert (await both.call(lead.secret, "keys.revoke", ci.key.id)).revoked_at is not None
    with pytest.raises(NotFound):
        await both.call(lead.secret, "keys.revoke", "key_none")
    (nothing,) = await both.call(lead.secret, "usage.list")
    assert (nothing.cost, nothing.day) == (0, None)
