"""Keys with scopes and limits, accounts and their credits: who may do what, and what is seen."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from polybatch.v1 import accounts_pb2, usage_pb2

from core.ledger import Scope, Spending, month_of, now
from services.gateway.keys import FIRST_ACCOUNT
from tests.support.gateway.accounts import SCOPES, Holder, holder, nanos, operator, usd
from tests.support.gateway.running import Gateway, refused
from tests.support.ledger.rows import add_rows

NEEDED = {
    **dict.fromkeys(("GetCurrentKey", "GetUsage"), Scope.BATCH),
    **dict.fromkeys(("CreateKey", "ListKeys", "UpdateKey", "RevokeKey"), Scope.ACCOUNT),
    **dict.fromkeys(("CreateAccount", "GetAccount", "ListAccounts"), Scope.OPERATOR),
    **dict.fromkeys(("UpdateAccount", "GrantCredits", "ListPostings"), Scope.OPERATOR),
}
MONTH, TOTAL = accounts_pb2.BUDGET_PERIOD_MONTH, accounts_pb2.BUDGET_PERIOD_TOTAL


def test_the_table_has_all_calls() -> None:
    services = [
        *accounts_pb2.DESCRIPTOR.services_by_name.values(),
        *usage_pb2.DESCRIPTOR.services_by_name.values(),
    ]
    assert {method.name for service in services for method in service.methods} == NEEDED.keys()


@pytest.mark.parametrize("scope", Scope)
async def test_who_may_call_what(gateway: Gateway, scope: Scope) -> None:
    caller = await holder(gateway, scope=scope)
    for method, needed in NEEDED.items():
        try:
            await caller.call(method)
            reason = ""
        except grpc.aio.AioRpcError:
            failure = await refused(caller.call(method))
            reason = failure.reason
        if scope.includes(needed):
            assert reason in ("", "INVALID_FIELD", "KEY_NOT_FOUND", "ACCOUNT_NOT_FOUND"), method
            continue
        assert (failure.code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
        assert failure.metadata == {"needed": needed, "scope": scope}
        assert f'"{needed}"' in failure.message


async def test_another_account_is_for_operators(gateway: Gateway) -> None:
    ours, theirs = await holder(gateway, scope=Scope.ACCOUNT), await holder(gateway, "others")
    for named in ("others", theirs.key_id, "nobody", "*"):
        for method in ("CreateKey", "ListKeys", "GetUsage"):
            if (named, method) == ("*", "CreateKey"):
                continue
            failure = await refused(ours.call(method, account=named))
            assert failure.reason == "SCOPE_MISSING", "it does not tell whether there is one"
    assert (await ours.call("CreateKey", account="team")).key.account_name == "team"
    for call in (
        ours.call("RevokeKey", key_id=theirs.key_id),
        ours.call("UpdateKey", key={"id": theirs.key_id}, update_mask=["name"]),
        ours.call("RevokeKey", key_id="key_none"),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND")
    everybody = operator(gateway)
    assert (await refused(everybody.call("ListKeys", account="nobody"))).reason == (
        "ACCOUNT_NOT_FOUND"
    )
    listed = await everybody.call("ListKeys", account="*")
    assert {key.account_name for key in listed.keys} == {FIRST_ACCOUNT, "team", "others"}
    assert (await everybody.call("RevokeKey", key_id=theirs.key_id)).HasField("revoked_at")


async def test_no_key_gives_or_takes_more_than_it_has(gateway: Gateway) -> None:
    caller = await holder(gateway, FIRST_ACCOUNT, scope=Scope.ACCOUNT)
    made = await caller.call("CreateKey", scope=SCOPES[Scope.ACCOUNT])
    assert made.key.scope == SCOPES[Scope.ACCOUNT]
    more = await refused(caller.call("CreateKey", scope=SCOPES[Scope.OPERATOR]))
    assert more.reason == "SCOPE_MISSING"
    current = await operator(gateway).call("GetCurrentKey")
    assert current.account.name == FIRST_ACCOUNT
    for call in (
        caller.call("RevokeKey", key_id=current.key.id),
        caller.call("UpdateKey", key={"id": current.key.id}, update_mask=["name"]),
    ):
        assert (await refused(call)).reason == "SCOPE_MISSING"


async def test_a_keys_life(gateway: Gateway, capfd: pytest.CaptureFixture[str]) -> None:
    caller = await holder(gateway, scope=Scope.ACCOUNT)
    made = await caller.call(
        "CreateKey",
        name="ci",
        budget={"amount": usd(50), "period": MONTH},
        allowed_providers=["OpenAI"],
        allowed_models=["gpt-5*"],
    )
    assert made.key.scope == SCOPES[Scope.BATCH]
    month = month_of(now())
    await add_rows(
        gateway.ledger,
        Spending(owner_id=made.key.id, month=month, cost_nanos=7),
        Spending(owner_id=made.key.id, month="2020-01", cost_nanos=100),
        Spending(owner_id=made.key.id, month="", cost_nanos=107),
    )
    listed = await caller.call("ListKeys")
    mine, key = listed.keys
    assert (mine.id, key.id, key.name) == (caller.key_id, made.key.id, "ci")
    assert (list(key.allowed_providers), list(key.allowed_models)) == (["openai"], ["gpt-5*"])
    assert (key.budget.period, nanos(key.budget.amount), nanos(key.budget.spent)) == (
        *(MONTH, 50 * 10**9),
        7,
    )
    changed = await caller.call(
        "UpdateKey",
        key={"id": key.id, "name": "new", "budget": {"amount": usd(9)}},
        update_mask=["budget", "allowed_models"],
    )
    assert (changed.name, list(changed.allowed_models)) == ("ci", [])
    assert list(changed.allowed_providers) == ["openai"]
    assert (changed.budget.period, nanos(changed.budget.spent)) == (TOTAL, 107)
    free = await caller.call("UpdateKey", key={"id": key.id}, update_mask=["budget"])
    assert not free.HasField("budget")
    with_it = Holder(gateway, made.secret)
    assert (await with_it.call("GetCurrentKey")).key.id == key.id
    ended = await caller.call("RevokeKey", key_id=key.id)
    assert ended.HasField("revoked_at")
    assert (await caller.call("RevokeKey", key_id=key.id)) == ended, "ending it twice is no error"
    assert (await refused(with_it.call("GetCurrentKey"))).reason == "API_KEY_INVALID"
    log = capfd.readouterr()
    assert made.key.id in log.out, "what was done is in the log"
    for text in (str(listed), str(changed), str(ended), str(made.key), log.out, log.err):
        assert made.secret not in text


async def test_keys_come_in_pages(gateway: Gateway) -> None:
    caller = await holder(gateway, scope=Scope.ACCOUNT)
    keys = [caller.key_id, *[(await holder(gateway)).key_id for _ in range(4)]]
    found, token = [], ""
    while True:
        page = await caller.call("ListKeys", page_size=2, page_token=token)
        found += [key.id for key in page.keys]
        token = page.next_page_token
        if not token:
            break
    assert found == keys
    assert (await refused(caller.call("ListKeys", page_token="x"))).reason == "PAGE_TOKEN_INVALID"


async def test_what_a_batch_key_sees_of_its_account(gateway: Gateway) -> None:
    everybody = operator(gateway)
    await everybody.call("CreateAccount", name="team", budget={"amount": usd(5)})
    for scope, sees in ((Scope.BATCH, False), (Scope.ACCOUNT, True)):
        account = (await (await holder(gateway, scope=scope)).call("GetCurrentKey")).account
        assert (account.name, nanos(account.budget.amount)) == ("team", 5 * 10**9)
        for message, field in ((account, "balance"), (account, "free"), (account.budget, "spent")):
            assert message.HasField(field) == sees


async def test_fields_that_cannot_be(gateway: Gateway) -> None:
    everybody = operator(gateway)
    await everybody.call("CreateAccount", name="team")
    money = {"currency_code": "EUR", "units": 1}
    for method, fields, wrong in (
        ("CreateKey", {"name": "n" * 129}, "name"),
        ("CreateKey", {"name": "a\nb"}, "name"),
        ("CreateKey", {"scope": 9}, "scope"),
        ("CreateKey", {"budget": {}}, "budget.amount"),
        ("CreateKey", {"budget": {"amount": money}}, "budget.amount"),
        ("CreateKey", {"budget": {"amount": usd(-1)}}, "budget.amount"),
        ("CreateKey", {"budget": {"amount": usd(1), "period": 7}}, "budget.period"),
        ("CreateKey", {"allowed_providers": ["opnai"]}, "allowed_providers"),
        ("CreateKey", {"allowed_models": [""]}, "allowed_models"),
        ("CreateKey", {"allowed_models": [f"m{n}" for n in range(101)]}, "allowed_models"),
        ("UpdateKey", {}, "update_mask"),
        ("UpdateKey", {"update_mask": ["scope"]}, "update_mask"),
        ("CreateAccount", {"name": ""}, "name"),
        ("CreateAccount", {"name": "*"}, "name"),
        ("CreateAccount", {"name": "acct_team"}, "name"),
        ("UpdateAccount", {"account": "team", "update_mask": ["funding"]}, "funding"),
        ("GrantCredits", {"account": "team", "request_id": "r"}, "amount"),
        ("GrantCredits", {"account": "team", "amount": usd(0), "request_id": "r"}, "amount"),
        ("GrantCredits", {"account": "team", "amount": usd(1)}, "request_id"),
        (
            "GrantCredits",
            {"account": "team", "request_id": "r", "amount": usd(1), "note": "n" * 513},
            "note",
        ),
        (
            "GrantCredits",
            {
                "account": "team",
                "request_id": "r",
                "amount": {"currency_code": "USD", "units": 1, "nanos": -1},
            },
            "amount",
        ),
        ("GetUsage", {"from": {"year": 2026, "month": 2, "day": 30}}, "from"),
        ("GetUsage", {"to": {"year": 2020, "month": 1, "day": 1}}, "to"),
        ("GetUsage", {"group_by": [1, 1]}, "group_by"),
        ("GetUsage", {"group_by": [99]}, "group_by"),
    ):
        failure = await refused(everybody.call(method, **fields))
        assert (failure.reason, failure.violations[0][0]) == ("INVALID_FIELD", wrong), fields
    unknown = await refused(everybody.call("CreateKey", allowed_providers=["opnai"]))
    assert "openai" in unknown.message, "it names those that there are"


async def test_accounts(gateway: Gateway) -> None:
    everybody = operator(gateway)
    prepaid = accounts_pb2.FUNDING_PREPAID
    made = await everybody.call("CreateAccount", name="team", funding=prepaid)
    assert (made.name, made.funding, nanos(made.free)) == ("team", prepaid, 0)
    for call, reason in (
        (everybody.call("CreateAccount", name="team"), "ACCOUNT_EXISTS"),
        (everybody.call("GetAccount", account="nobody"), "ACCOUNT_NOT_FOUND"),
        (
            everybody.call("UpdateAccount", account="nobody", update_mask=["budget"]),
            "ACCOUNT_NOT_FOUND",
        ),
        (everybody.call("ListPostings", account="nobody"), "ACCOUNT_NOT_FOUND"),
        (
            everybody.call("GrantCredits", account="nobody", request_id="r", amount=usd(1)),
            "ACCOUNT_NOT_FOUND",
        ),
    ):
        assert (await refused(call)).reason == reason
    changed = await everybody.call(
        "UpdateAccount",
        account="team",
        budget={"amount": usd(80), "period": MONTH},
        update_mask=["budget"],
    )
    assert (changed.funding, nanos(changed.budget.amount)) == (prepaid, 80 * 10**9)
    assert await everybody.call("GetAccount", account=made.id) == changed
    first = await everybody.call("ListAccounts", page_size=1)
    rest = await everybody.call("ListAccounts", page_token=first.next_page_token)
    assert [each.name for each in (*first.accounts, *rest.accounts)] == [FIRST_ACCOUNT, "team"]


async def test_a_grant_counts_once(gateway: Gateway) -> None:
    everybody = operator(gateway)
    await everybody.call("CreateAccount", name="team")
    grant = {"account": "team", "request_id": "invoice-17", "amount": usd(12.5), "note": "paid"}
    answers = await asyncio.gather(*(everybody.call("GrantCredits", **grant) for _ in range(4)))
    assert {nanos(each.account.balance) for each in answers} == {12_500_000_000}
    other = await refused(everybody.call("GrantCredits", **(grant | {"amount": usd(1)})))
    assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    taken = await everybody.call(
        "GrantCredits", account="team", request_id="back", amount=usd(-2.75)
    )
    assert (taken.account.balance.units, taken.account.balance.nanos) == (9, 750_000_000)
    assert (taken.posting.balance.units, taken.posting.balance.nanos) == (-2, -750_000_000)
    page = await everybody.call("ListPostings", account="team", page_size=1)
    rest = await everybody.call("ListPostings", account="team", page_token=page.next_page_token)
    postings = [*page.postings, *rest.postings]
    assert [(each.kind, each.note) for each in postings] == [("grant", ""), ("grant", "paid")]
    assert sum(nanos(each.balance) for each in postings) == nanos(taken.account.balance)
    assert not rest.next_page_token
