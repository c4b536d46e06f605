"""`python -m services.supervisor`: what `make up` runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import structlog

from core.ledger import Ledger, LedgerUnavailable, ProviderKey, now
from core.providers.http.transport import trusted
from core.providers.registry import plug_in_names
from core.serving import data_folder_lock, run, usable_data_folder
from core.settings import ProviderAccess, Settings, read_settings
from services.supervisor.fork_server import POSTGRESQL, SHARED, TLS, Call, fork_server
from services.supervisor.forked import ForkServer
from services.supervisor.ledger import bring_up_to_date
from services.supervisor.output import Output
from services.supervisor.plan import Options, Plan, make_plan
from services.supervisor.report import (
    keys_are_told,
    ready_block,
    removed_around,
    warn_of_a_full_disk,
)
from services.supervisor.supervisor import Supervisor
from services.supervisor.written import Written

log = structlog.get_logger()

_MOST_REPLICAS = 64


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.supervisor",
        description="Runs the whole of polybatch on this machine until Ctrl-C: NATS (unless "
        "POLYBATCH_NATS_URL is set), gateway, dispatcher and collector. A second Ctrl-C "
        "ends everything at once. Settings: docs/settings.md.",
    )
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="run stand-ins for the providers too: made-up answers, no keys, no cost",
    )
    parser.add_argument(
        "--ports",
        choices=("fixed", "auto"),
        default="fixed",
        help="auto: free ports instead of those of the settings",
    )
    for service in ("gateway", "dispatcher", "collector"):
        parser.add_argument(
            f"--{service}s",
            type=_count_or_none if service == "dispatcher" else _count,
            default=1,
            metavar="N",
            help=f"so many {service} processes (%(default)s)"
            + ("; with 0 nothing is sent to any provider" if service == "dispatcher" else ""),
        )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="write addresses and process ids there, as JSON, once everything is healthy",
    )
    parser.add_argument(
        "--log-dir", type=Path, metavar="PATH", help="a log file for each child in this folder"
    )
    return parser.parse_args()


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= _MOST_REPLICAS:
        raise argparse.ArgumentTypeError(f"from 1 to {_MOST_REPLICAS} can run on one machine")
    return count


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)


async def supervise(
    arguments: argparse.Namespace,
    settings: Settings,
    access: ProviderAccess,
    *,
    for_people: bool,
    stop: asyncio.Event,
    fork_server: ForkServer | None = None,
) -> None:
    """Run the suite until `stop` is set. Raises StartupError."""
    ready_file: Path | None = arguments.ready_file
    options = Options(
        sandbox=arguments.sandbox,
        auto_ports=arguments.ports == "auto",
        console_logs=for_people and arguments.log_dir is None,
        coloured=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
        replicas={
            "gateway": arguments.gateways,
            "dispatcher": arguments.dispatchers,
            "collector": arguments.collectors,
        },
    )
    with data_folder_lock(settings.data_dir.absolute()):
        with usable_data_folder(settings.data_dir.absolute()):
            plan = make_plan(settings, access, options)
            warn_of_a_full_disk(settings)
        await bring_up_to_date(stop, fork_server)
        if stop.is_set():
            return
        ready = asyncio.Event()
        written = Written(plan, ready_file)

        def on_ready(pids: Mapping[str, int]) -> None:
            written.tell(pids)
            ready.set()

        names = [child.name for stage in plan.stages for child in stage]
        output = Output(arguments.log_dir, name_width=max(map(len, names)), named=for_people)
        announcing = asyncio.create_task(_announce(plan, settings, ready, since=now()))
        try:
            with removed_around(ready_file, plan.addresses_file):
                await Supervisor(
                    plan.stages, output=output, on_ready=on_ready, fork_server=fork_server
                ).run(stop)
        finally:
            written.close()
            announcing.cancel()
            await asyncio.wait([announcing])
        if not announcing.cancelled():
            announcing.result()


async def _announce(
    plan: Plan, settings: Settings, ready: asyncio.Event, *, since: datetime
) -> None:
    """Tell people once everything is healthy, and what the providers said of their keys since."""
    await ready.wait()
    # For the sandbox alone the ledger need not be opened, which takes 6 MB.
    told = settings.check_keys and keys_are_told(plan)
    tried = await _tried_keys(plan, settings, since) if told else None
    print(f"\n{ready_block(plan, tried)}\n", flush=True)


async def _tried_keys(
    plan: Plan, settings: Settings, since: datetime
) -> dict[str, ProviderKey] | None:
    """None where the ledger does not answer."""
    try:
        ledger = await Ledger.open(settings.effective_database_url, pool_size=2)
        try:
            found = await ledger.keys.of(plan.known.credentials)
        finally:
            await ledger.close()
    except LedgerUnavailable as error:
        log.warning("key_states_not_read", cause=str(error))
        return None
    return {name: key for name, key in found.items() if key.checked_at >= since}


def main() -> int:
    """Run the supervisor; returns the exit code."""
    arguments = _arguments()
    settings, access = read_settings()
    # On a terminal or redirected: who runs all of it on one machine reads it.
    for_people = (
        settings.log_format == "console"
        if "log_format" in settings.model_fields_set
        else arguments.log_dir is None
    )
    server = None
    if sys.platform == "linux":
        modules = [*SHARED]
        if not settings.effective_database_url.startswith("sqlite"):
            modules += POSTGRESQL
        if settings.tls_cert is not None:
            modules += TLS
        # They would all read these for themselves; what is wrong with the certificates, they say.
        with suppress(OSError):
            trusted()
        plug_in_names(tuple(sys.path))
        forked = fork_server(modules)
        if forked is None:
            return 0
        if isinstance(forked, Call):
            return forked.run()
        server = ForkServer(forked)
    try:
        return _run(arguments, settings, access, for_people, server)
    finally:
        if server is not None:
            server.close()


def _run(
    arguments: argparse.Namespace,
    settings: Settings,
    access: ProviderAccess,
    for_people: bool,
    server: ForkServer | None,
) -> int:
    return run(
        lambda stop: supervise(
            arguments, settings, access, for_people=for_people, stop=stop, fork_server=server
        ),
        service="supervisor",
        log_level=settings.log_level,
        log_format="console" if for_people else settings.log_format,
        # uvloop forks, which runs gRPC's fork handlers beside its threads; subprocess vforks.
        loop_factory=asyncio.new_event_loop,
    )


if __name__ == "__main__":
    sys.exit(main())
