"""The commands about keys, of the caller's account or, below `admin`, of any."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

import polybatch
from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.listing import Listing
from polybatch.cli.output import duration, moment, usd
from polybatch.cli.session import Session, UnusableInput

if TYPE_CHECKING:
    from polybatch import Account, Budget, Key

_account = click.option(
    "--account", default="", metavar="ACCOUNT", help="Another account, by id or name (operators)."
)
_key_id = click.argument("key_id", metavar="KEY_ID", help="As `keys list` shows it.")


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --budget and --monthly."""
    total = click.option(
        "--budget", type=grammar.usd, metavar="USD", help="It may spend that in all."
    )
    month = click.option(
        "--monthly", type=grammar.usd, metavar="USD", help="Or that in each month (UTC)."
    )
    return total(month(command))


def asked_budget(budget: Decimal | None, monthly: Decimal | None) -> Budget | None:
    """The budget that the options say. UnusableInput where they say two."""
    if budget is not None and monthly is not None:
        raise UnusableInput("--budget and --monthly are two budgets: choose one.")
    if monthly is not None:
        return polybatch.Budget(monthly, polybatch.BudgetPeriod.MONTH)
    return None if budget is None else polybatch.Budget(budget)


def shown_budget(budget: Budget | None) -> str:
    """A budget in a few words, with what is spent of it where that is known."""
    if budget is None:
        return ""
    period = "a month" if budget.period is polybatch.BudgetPeriod.MONTH else "in all"
    text = f"{usd(budget.amount)} USD {period}"
    if budget.spent is not None:
        text += f", {usd(budget.spent)} spent"
    if budget.reserved:
        text += f", {usd(budget.reserved)} held"
    return text


@click.group(
    cls=grammar.Group,
    example="""\
Examples:
  polybatch keys create ci --monthly 50 --model 'gpt-5*'    prints the new key, once
  polybatch keys list
  polybatch keys update key_0m2x... --monthly 80
  polybatch keys revoke key_0m2x...

Scopes, each with what the ones before may do:
  batch     make and read batches
  account   manage the account's keys, see its usage, make batches for its other keys
  operator  all accounts
""",
    admin_example="""\
Examples:
  polybatch admin keys create ci --account team --monthly 50    prints the new key, once
  polybatch admin keys list --account team
  polybatch admin keys update key_0m2x... --monthly 80
  polybatch admin keys revoke key_0m2x...
""",
)
def keys() -> None:
    """Make, list, limit and end API keys."""


@keys.command("list", example="polybatch keys list --json")
@_account
@grammar.limit
@click.pass_obj
def list_keys(session: Session, *, account: str, limit: int | None) -> ExitCode:
    """List keys, oldest first, without their secrets."""
    columns = {
        **{"ID": 24, "ACCOUNT": 16, "NAME": 16, "SCOPE": 8, "STATE": 8},
        **{"CREATED": 25, "BUDGET": 40, "ALLOWED": 0},
    }
    if not session.operator:
        del columns["ACCOUNT"]
    found = session.client.keys.list(account=account or ("*" if session.operator else ""))
    with Listing(columns, "CREATED", "ALLOWED", "BUDGET") as listing:
        for key in islice(found, limit):
            if session.json:
                session.emit(key)
                continue
            listing.add(
                key.id,
                *([key.account_name] if session.operator else []),
                key.name,
                key.scope,
                "revoked" if key.revoked_at else "valid",
                moment(key.created_at),
                shown_budget(key.budget),
                ", ".join((*key.allowed_providers, *key.allowed_models)),
            )
    return ExitCode.OK


@keys.command(
    example="polybatch keys create ci --monthly 50 --provider openai --model 'gpt-5*'",
    admin_example="polybatch admin keys create ci --account team --monthly 50",
)
@click.argument("name", metavar="[NAME]", required=False, default="", help="What it is for.")
@click.option(
    "--scope",
    type=click.Choice(("batch", "account", "operator")),
    default="batch",
    help="What it may do (batch).",
)
@budget_options
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="It may use this provider; may be given several times (all).",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="It may use this model, or those that fit a pattern such as 'gpt-5*' (all).",
)
@_account
@click.pass_obj
def create(
    session: Session,
    *,
    name: str,
    scope: str,
    budget: Decimal | None,
    monthly: Decimal | None,
    providers: tuple[str, ...],
    models: tuple[str, ...],
    account: str,
) -> ExitCode:
    """Make a key, and print it: the only time that it is shown."""
    if session.operator and not account:
        raise UnusableInput("whose key? Name the account: --account.")
    made = session.client.keys.create(
        name,
        scope=polybatch.KeyScope(scope),
        budget=asked_budget(budget, monthly),
        allowed_providers=providers,
        allowed_models=models,
        account=account,
    )
    if session.json:
        session.emit(made)
        return ExitCode.OK
    session.say(made.secret)
    key = made.key
    session.note(f"{key.id}, {key.scope}, of {key.account_name}; it is shown only now: keep it")
    return ExitCode.OK


@keys.command(example="polybatch keys update key_0m2x4k9q7c1v5b3n8d6f --monthly 80")
@_key_id
@click.option("--name", metavar="NAME", help="What it is for.")
@budget_options
@click.option("--no-budget", is_flag=True, help="Without a budget of its own.")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="It may use this provider; those given take the place of all before.",
)
@click.option("--all-providers", is_flag=True, help="It may use every provider.")
@click.option(
    "--model", "models", multiple=True, metavar="PATTERN", help="The same for models or patterns."
)
@click.option("--all-models", is_flag=True, help="It may use every model.")
@click.pass_obj
def update(
    session: Session,
    *,
    key_id: str,
    name: str | None,
    budget: Decimal | None,
    monthly: Decimal | None,
    no_budget: bool,
    providers: tuple[str, ...],
    all_providers: bool,
    models: tuple[str, ...],
    all_models: bool,
) -> ExitCode:
    """Change a key; what is not named stays as it is."""
    changes: dict[str, Any] = {} if name is None else {"name": name}
    asked = asked_budget(budget, monthly)
    for field, value, none in (
        ("budget", asked, no_budget),
        ("allowed_providers", providers, all_providers),
        ("allowed_models", models, all_models),
    ):
        if value and none:
            raise UnusableInput("a limit and none at the same time: choose one.")
        if value or none:
            changes[field] = value
    if not changes:
        raise UnusableInput("nothing to change: name a field, such as --monthly 50.")
    _show(session, session.client.keys.update(key_id, **changes))
    return ExitCode.OK


@keys.command(example="polybatch keys revoke key_0m2x4k9q7c1v5b3n8d6f")
@_key_id
@click.pass_obj
def revoke(session: Session, *, key_id: str) -> ExitCode:
    """End a key: no new call at once, open ones within seconds; its batches go on."""
    key = session.client.keys.revoke(key_id)
    if session.json:
        session.emit(key)
    else:
        session.say(f"{key.id} revoked")
    return ExitCode.OK


@keys.command(example="polybatch keys current")
@click.pass_obj
def current(session: Session) -> ExitCode:
    """Show the key that is used here, what it may do, and its account."""
    found = session.client.keys.current()
    if session.json:
        session.emit(found)
        return ExitCode.OK
    session.tell_facts([*_facts(found.key), *account_facts(found.account)], 10)
    return ExitCode.OK


def account_facts(account: Account) -> list[tuple[str, str]]:
    """What is known of an account."""
    facts = [
        ("account", f"{account.name} ({account.id})"),
        ("funding", account.funding),
        ("budget", shown_budget(account.budget)),
    ]
    if account.results_retention is not None:
        kept = duration(account.results_retention.total_seconds())
        facts.append(("results", f"kept for {kept} after a batch's end"))
    if account.balance is not None and account.reserved is not None and account.free is not None:
        facts.append(("balance", f"{usd(account.balance)} USD"))
        facts.append(("held", f"{usd(account.reserved)} USD"))
        facts.append(("free", f"{usd(account.free)} USD"))
    return facts


def _show(session: Session, key: Key) -> None:
    if session.json:
        session.emit(key)
    else:
        session.tell_facts(_facts(key), 10)


def _facts(key: Key) -> list[tuple[str, str]]:
    return [
        ("key", key.id),
        ("name", key.name),
        ("scope", key.scope),
        ("budget", shown_budget(key.budget)),
        ("providers", ", ".join(key.allowed_providers) or "all"),
        ("models", ", ".join(key.allowed_models) or "all"),
        ("created", moment(key.created_at)),
        ("revoked", moment(key.revoked_at)),
    ]
