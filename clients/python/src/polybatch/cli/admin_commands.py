"""The commands of operators: accounts, their credits, and keys and usage of all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import click

import polybatch
from polybatch.cli import grammar, key_commands
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.key_commands import account_facts, asked_budget, budget_options, shown_budget
from polybatch.cli.listing import Listing
from polybatch.cli.output import moment, usd
from polybatch.cli.session import Session, UnusableInput
from polybatch.cli.usage_command import usage

_account = click.argument("account", metavar="ACCOUNT", help="Its id or name.")


def _funding(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--funding",
        type=click.Choice(("metered", "prepaid")),
        default="metered" if required else None,
        help="metered: what it spends is counted; prepaid: it spends what was granted, no more"
        + (" (metered)." if required else "."),
    )


@click.group(
    cls=grammar.Group,
    example="""\
Examples:
  polybatch admin accounts create team --funding prepaid
  polybatch admin grant team 100 --note "invoice 17"
  polybatch admin keys create ci --account team --monthly 20
  polybatch admin usage --by month,account

It takes a key of the scope "operator": POLYBATCH_API_KEY or --api-key-file, else the file
$POLYBATCH_DATA_DIR/operator-key, which the first start makes.
""",
)
@click.pass_obj
def admin(session: Session) -> None:
    """Manage all accounts, their credits, budgets and keys (operators)."""
    session.operator = True


@admin.group(cls=grammar.Group, example="polybatch admin accounts list")
def accounts() -> None:
    """List, make, show and change accounts."""


@accounts.command("list", example="polybatch admin accounts list --json")
@grammar.limit
@click.pass_obj
def list_accounts(session: Session, *, limit: int | None) -> ExitCode:
    """List accounts, oldest first; amounts are in USD."""
    columns = {
        **{"ID": 25, "NAME": 24, "FUNDING": 8, "BALANCE": -16, "HELD": -14, "FREE": -16},
        **{"CREATED": 25, "BUDGET": 0},
    }
    with Listing(columns, "CREATED", "BUDGET", "HELD") as listing:
        for each in islice(session.client.accounts.list(), limit):
            if session.json:
                session.emit(each)
                continue
            listing.add(
                each.id,
                each.name,
                each.funding,
                *(usd(amount or Decimal(0)) for amount in (each.balance, each.reserved, each.free)),
                moment(each.created_at),
                shown_budget(each.budget),
            )
    return ExitCode.OK


@accounts.command("create", example="polybatch admin accounts create team --funding prepaid")
@click.argument("name", metavar="NAME", help="Unique, of 1 to 128 characters.")
@_funding(required=True)
@budget_options
@click.pass_obj
def create_account(
    session: Session, *, name: str, funding: str, budget: Decimal | None, monthly: Decimal | None
) -> ExitCode:
    """Make an account, still without a key."""
    made = session.client.accounts.create(
        name, funding=polybatch.Funding(funding), budget=asked_budget(budget, monthly)
    )
    if session.json:
        session.emit(made)
        return ExitCode.OK
    session.say(made.id)
    words = session.command("admin", "keys", "create", "--account", name)
    session.note(f"make it a key: {words}")
    return ExitCode.OK


@accounts.command("show", example="polybatch admin accounts show team")
@_account
@click.pass_obj
def show_account(session: Session, *, account: str) -> ExitCode:
    """Show what an account has and may spend."""
    _show(session, session.client.accounts.get(account))
    return ExitCode.OK


@accounts.command("set", example="polybatch admin accounts set team --funding prepaid")
@_account
@_funding(required=False)
@budget_options
@click.option("--no-budget", is_flag=True, help="Without a budget.")
@click.option(
    "--keep-results",
    type=grammar.retention,
    metavar="SPAN",
    help="Delete results and inputs so long after a batch's end, such as 30d; from 1h to 30d.",
)
@click.option("--keep-results-as-set", is_flag=True, help="As the service is set.")
@click.pass_obj
def set_account(
    session: Session,
    *,
    account: str,
    funding: str | None,
    budget: Decimal | None,
    monthly: Decimal | None,
    no_budget: bool,
    keep_results: timedelta | None,
    keep_results_as_set: bool,
) -> ExitCode:
    """Change how an account pays, its budget, and how long results are kept."""
    changes: dict[str, Any] = {} if funding is None else {"funding": polybatch.Funding(funding)}
    asked = asked_budget(budget, monthly)
    if asked and no_budget:
        raise UnusableInput("a budget and none at the same time: choose one.")
    if asked or no_budget:
        changes["budget"] = asked
    if keep_results and keep_results_as_set:
        raise UnusableInput("--keep-results and --keep-results-as-set: choose one.")
    if keep_results or keep_results_as_set:
        changes["results_retention"] = keep_results
    if not changes:
        raise UnusableInput("nothing to change: name a field, such as --funding prepaid.")
    _show(session, session.client.accounts.update(account, **changes))
    return ExitCode.OK


@admin.command(
    example='polybatch admin grant team 100 --note "invoice 17" --request-id invoice-17',
    # An amount below 0 is no option.
    context_settings={"ignore_unknown_options": True},
)
@_account
@click.argument(
    "amount", metavar="USD", type=grammar.signed_usd, help="Such as 12.50; -5 takes some away."
)
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the posting.")
@click.option(
    "--request-id", metavar="ID", help="Idempotency key: reusing it grants no second time."
)
@click.pass_obj
def grant(
    session: Session, *, account: str, amount: Decimal, note: str, request_id: str | None
) -> ExitCode:
    """Add credits to an account; batches that waited for them go on."""
    after, posting = session.client.accounts.grant(
        account, amount, note=note, request_id=request_id
    )
    if session.json:
        session.emit({"account": after, "posting": posting})
        return ExitCode.OK
    _show(session, after)
    return ExitCode.OK


@admin.command(example="polybatch admin postings team --limit 20")
@_account
@grammar.limit
@click.pass_obj
def postings(session: Session, *, account: str, limit: int | None) -> ExitCode:
    """List what moved an account's money, newest first; amounts are in USD."""
    columns = {
        **{"CREATED": 25, "KIND": 8, "BALANCE": -16, "HELD": -16},
        **{"REASON": 48, "BATCH": 26, "NOTE": 0},
    }
    with Listing(columns, "BATCH", "NOTE") as listing:
        for each in islice(session.client.accounts.postings(account), limit):
            if session.json:
                session.emit(each)
                continue
            listing.add(
                moment(each.created_at),
                each.kind,
                usd(each.balance),
                usd(each.reserved),
                each.reason,
                each.batch_id,
                each.note,
            )
    return ExitCode.OK


def _show(session: Session, account: polybatch.Account) -> None:
    if session.json:
        session.emit(account)
    else:
        session.tell_facts(account_facts(account), 10)


admin.add_command(key_commands.keys)
admin.add_command(usage)
