"""`python -m services.gateway`: run the gateway, or administer its database."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from core.failpoints import arm
from core.ledger import (
    BadDatabaseUrl,
    BudgetPeriod,
    KeyLimits,
    LedgerUnavailable,
    Scope,
    TargetNotEmpty,
    UnknownSchema,
    check_database_url,
    copy_ledger,
)
from core.pipeline import open_ledger
from core.serving import StartupError, data_folder_lock, run
from core.settings import Settings, read_settings
from services.gateway.keys import create_key, list_keys, nanos_of_dollars, revoke_key
from services.gateway.service import serve

_FAILURES = (StartupError, BadDatabaseUrl, UnknownSchema, LedgerUnavailable, TargetNotEmpty)
"""What is told in a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until SIGTERM or SIGINT, or one command; returns the exit code."""
    asked = _parser().parse_args(arguments)
    settings, access = read_settings()
    arm(asked.command or "gateway")
    if asked.command is not None:
        try:
            return asyncio.run(_administer(asked, settings))
        except _FAILURES as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    # Threads that write and hash need the GIL for moments only; by default each may wait
    # 5 ms for it while lines are being checked.
    sys.setswitchinterval(0.0002)

    async def body(stop: asyncio.Event) -> None:
        await serve(settings, access, stop)

    return run(
        body,
        service="gateway",
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


async def _administer(asked: argparse.Namespace, settings: Settings) -> int:
    if asked.command == "copy-ledger" or asked.action != "create":
        _require_ledger(settings)
    if asked.command == "copy-ledger":
        # A copy forgets what is sent after it, and its services would send, and pay, again.
        with data_folder_lock(
            settings.data_dir.absolute(),
            remedy="stop it first: what it goes on to send would be missing in the copy",
        ):
            copied = await copy_ledger(settings.effective_database_url, asked.to)
        for table, rows in copied.items():
            print(f"{table:<20} {rows:>9} rows")
        return 0
    ledger = await open_ledger(settings, patience=0)
    try:
        match asked.action:
            case "create":
                return await create_key(ledger, asked.account, asked.name, _limits(asked))
            case "revoke":
                return await revoke_key(ledger, asked.id)
            case _:
                return await list_keys(ledger)
    finally:
        await ledger.close()


def _require_ledger(settings: Settings) -> None:
    """Raises StartupError where opening the ledger would make an empty one, in a wrong folder."""
    try:
        file = check_database_url(settings.effective_database_url)
    except BadDatabaseUrl as error:
        raise StartupError(f"POLYBATCH_DATABASE_URL: {error}") from error
    if file is None or file.exists():
        return
    setting = "POLYBATCH_DATABASE_URL"
    if not settings.database_url:
        setting = f"POLYBATCH_DATA_DIR (its folder; now {settings.data_dir})"
    raise StartupError(f"there is no ledger at {file.absolute()}: set {setting} to where it is")


def _limits(asked: argparse.Namespace) -> KeyLimits:
    monthly: int | None = asked.monthly
    return KeyLimits(
        scope=Scope(asked.scope),
        budget_nanos=asked.budget if monthly is None else monthly,
        budget_period=BudgetPeriod.TOTAL if monthly is None else BudgetPeriod.MONTH,
        allowed_providers=asked.providers,
        allowed_models=asked.models,
    )


def _dollars(text: str) -> int:
    try:
        return nanos_of_dollars(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.gateway",
        description="Takes files in and makes batches of them. Without a command it runs the "
        "service. Everything is set by environment variables; see docs/settings.md.",
    )
    commands = parser.add_subparsers(dest="command")
    keys = commands.add_parser("keys", help="administer API keys, on the database directly")
    actions = keys.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key, and its account where it is new")
    create.add_argument("--account", required=True, help="name of the account")
    create.add_argument("--name", default="", help="what the key is for")
    create.add_argument(
        "--scope",
        choices=[scope.value for scope in Scope],
        default=Scope.BATCH.value,
        help="batch: make and read batches (%(default)s); account: also manage the account's "
        "keys and see its usage; operator: all accounts",
    )
    budget = create.add_mutually_exclusive_group()
    budget.add_argument("--budget", type=_dollars, metavar="USD", help="it may spend that in all")
    budget.add_argument("--monthly", type=_dollars, metavar="USD", help="or that in each month")
    create.add_argument(
        "--providers", type=_names, metavar="NAME,...", help="it may use these only"
    )
    create.add_argument(
        "--models",
        type=_names,
        metavar="NAME,...",
        help="it may use these only; patterns such as gpt-5* will do",
    )
    actions.add_parser("list", help="list all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="end a key at once")
    revoke.add_argument("id", help="the key's id, as `keys list` shows it")
    copy = commands.add_parser(
        "copy-ledger",
        help="copy the database of the settings into an empty one, while no service runs",
    )
    copy.add_argument(
        "--to", required=True, metavar="URL", help="such as postgresql://user:pw@host/name"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
