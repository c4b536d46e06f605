"""UsageService: whose usage, which days, names, and pages."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from polybatch.v1 import usage_pb2

from core.ledger import Scope, now
from tests.support.gateway.accounts import Holder, holder, nanos, operator
from tests.support.gateway.running import Gateway, refused
from tests.support.ledger.rows import add_rows, usage_row

DAY, KEY, ACCOUNT, MONTH = (
    usage_pb2.USAGE_GROUP_DAY,
    usage_pb2.USAGE_GROUP_KEY,
    usage_pb2.USAGE_GROUP_ACCOUNT,
    usage_pb2.USAGE_GROUP_MONTH,
)
TODAY = now().date()
EVER: dict[str, Any] = {"from": {"year": 2026, "month": 1, "day": 1}}


async def account_of(caller: Holder) -> str:
    return str((await caller.call("GetCurrentKey")).account.id)


async def test_each_sees_what_it_may(gateway: Gateway) -> None:
    boss = await holder(gateway, name="boss", scope=Scope.ACCOUNT)
    ci, stranger = await holder(gateway, name="ci"), await holder(gateway, "others")
    team, others = await account_of(boss), await account_of(stranger)
    await add_rows(
        gateway.ledger,
        usage_row(TODAY, 1, account_id=team, key_id=boss.key_id),
        usage_row(TODAY, 20, account_id=team, key_id=ci.key_id, late=True, unpriced_lines=1),
        usage_row(TODAY, 300, account_id=team, key_id=""),
        usage_row(TODAY, 4000, account_id=others, key_id=stranger.key_id),
    )
    await gateway.ledger.accounts.revoke_key(ci.key_id)
    all_keys = await boss.call("GetUsage", group_by=[KEY])
    assert [(each.key_id, each.key_name, nanos(each.cost)) for each in all_keys.entries] == [
        ("", "", 300),
        (boss.key_id, "boss", 1),
        (ci.key_id, "ci", 20),
    ], "ended ones too, and what is from before keys were kept"
    total = all_keys.total
    assert (nanos(total.cost), nanos(total.late_cost)) == (321, 20)
    assert (total.line_count, total.unpriced_line_count, total.usage.total_tokens) == (3, 1, 36)
    other_ci = await holder(gateway)
    await add_rows(
        gateway.ledger, usage_row(TODAY, 50_000, account_id=team, key_id=other_ci.key_id)
    )
    own = await other_ci.call("GetUsage", group_by=[KEY])
    assert [each.key_id for each in own.entries] == [other_ci.key_id]
    assert nanos(own.total.cost) == 50_000
    everybody = operator(gateway)
    by_account = await everybody.call("GetUsage", account="*", group_by=[ACCOUNT])
    assert [(e.account_name, nanos(e.cost)) for e in by_account.entries] == [
        ("team", 50_321),
        ("others", 4000),
    ]
    named = await everybody.call("GetUsage", account="others")
    assert [nanos(each.cost) for each in named.entries] == [4000]
    assert not named.entries[0].account_id, "it was not asked for"


async def test_days_months_and_pages(gateway: Gateway) -> None:
    boss = await holder(gateway, scope=Scope.ACCOUNT)
    team = await account_of(boss)
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)]
    await add_rows(gateway.ledger, *(usage_row(day, 10**18, account_id=team) for day in days))
    months = await boss.call("GetUsage", group_by=[MONTH], **EVER)
    assert [(each.month, each.cost.units) for each in months.entries] == [
        ("2026-01", 10**9),
        ("2026-02", 2 * 10**9),
    ]
    found, token = [], ""
    while True:
        page = await boss.call(
            "GetUsage", group_by=[DAY, KEY], page_size=1, page_token=token, **EVER
        )
        assert page.total.cost.units == 3 * 10**9, "of all pages"
        found += [date(each.day.year, each.day.month, each.day.day) for each in page.entries]
        token = page.next_page_token
        if not token:
            break
        last = token
    assert found == days
    for bad, groups in (("x", [DAY]), (last, [DAY]), (last, [KEY, DAY])):
        failure = await refused(boss.call("GetUsage", group_by=groups, page_token=bad, **EVER))
        assert failure.reason == "PAGE_TOKEN_INVALID"
    one = {"from": EVER["from"], "to": {"year": 2026, "month": 1, "day": 31}}
    assert (await boss.call("GetUsage", **one)).total.cost.units == 10**9


async def test_this_month_if_nothing_is_said(gateway: Gateway) -> None:
    boss = await holder(gateway, scope=Scope.ACCOUNT)
    team = await account_of(boss)
    today = now().date()
    before = today.replace(day=1) - timedelta(days=1)
    await add_rows(
        gateway.ledger,
        usage_row(before, 1, account_id=team),
        usage_row(today.replace(day=1), 2, account_id=team),
    )
    (entry,) = (await boss.call("GetUsage")).entries
    assert nanos(entry.cost) == 2
    # Nothing is a sum as well.
    nothing = await (await holder(gateway, "nobody")).call("GetUsage")
    assert [nanos(each.cost) for each in nothing.entries] == [0]
