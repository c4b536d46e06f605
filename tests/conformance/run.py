"""The run: every client through every scenario, some at a time, and the table of it."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import reading, scenarios
from tests.conformance.cell import Cell
from tests.conformance.clients import BuildFailed, Client
from tests.conformance.signals import Failed
from tests.conformance.stand import Stand
from tests.support.e2e.suite import Suite

AT_ONCE = 4
"""Scenarios at a time: most of each is waiting."""

Play = Callable[[Cell], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """One row of the table; `read`: for clients that make single calls, if it means anything."""

    submit: Play
    read: Play | None = None

    @property
    def name(self) -> str:
        return self.submit.__name__

    def of(self, client: Client) -> Play | None:
        """What it is for a client; None: nothing."""
        return self.read if client.reads_only else self.submit


SCENARIOS = (
    Scenario(scenarios.main_job, reading.main_job),
    Scenario(scenarios.wrong_usage),
    Scenario(scenarios.upload_breaks),
    Scenario(scenarios.upload_answer_lost),
    Scenario(scenarios.watch_breaks),
    Scenario(scenarios.download_breaks),
    Scenario(scenarios.replica_gone),
    Scenario(scenarios.server_draining),
    Scenario(scenarios.told_to_wait),
    Scenario(scenarios.key_revoked, reading.key_revoked),
    Scenario(scenarios.unknown_end),
    Scenario(scenarios.bad_lines, reading.bad_lines),
    Scenario(scenarios.cancelled, reading.cancelled),
    Scenario(scenarios.interrupted),
    Scenario(scenarios.run_again),
    Scenario(scenarios.tls, reading.tls),
    Scenario(scenarios.deadlines),
)

PASS, FAIL, SKIPPED, NOTHING = "pass", "FAIL", "skipped", "-"


@dataclass(frozen=True)
class Outcome:
    """What came of one client in one scenario."""

    word: str
    seconds: float = 0.0
    why: str = ""
    """Of a failure: what was wrong, and the story of it."""


Outcomes = Mapping[tuple[str, str], Outcome]
Tell = Callable[[str, str, Outcome], None]


async def run(
    suite: Suite,
    clients: Sequence[Client],
    chosen: Sequence[Scenario],
    folder: Path,
    tell: Tell,
) -> Outcomes:
    """Play the scenarios; `tell` is given the client, the scenario and each outcome."""
    outcomes: dict[tuple[str, str], Outcome] = {}
    turns = asyncio.Semaphore(AT_ONCE)
    stand = Stand(suite)

    def note(client: str, scenario: str, outcome: Outcome) -> None:
        outcomes[client, scenario] = outcome
        tell(client, scenario, outcome)

    async def one(client: Client, scenario: Scenario, play: Play) -> None:
        async with turns:
            where = folder / client.name / scenario.name
            note(client.name, scenario.name, await _play(client, scenario, play, stand, where))

    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                # One build at a time, beside the scenarios of those that are built.
                word, why = await _made(client)
                for scenario in chosen:
                    play = scenario.of(client)
                    if play is None:
                        note(client.name, scenario.name, Outcome(NOTHING))
                    elif word:
                        note(client.name, scenario.name, Outcome(word, why=why))
                    else:
                        group.create_task(one(client, scenario, play))
    finally:
        await stand.close()
    return outcomes


async def _made(client: Client) -> tuple[str, str]:
    try:
        missing = await client.make()
    except BuildFailed as error:
        return FAIL, str(error)
    return (SKIPPED, missing) if missing else ("", "")


async def _play(
    client: Client, scenario: Scenario, play: Play, stand: Stand, folder: Path
) -> Outcome:
    began = time.monotonic()
    why = ""
    async with AsyncExitStack() as stack:
        account = await stack.enter_async_context(stand.account(f"{client.name}-{scenario.name}"))
        cell = Cell(client, stand, account, folder, stack)
        try:
            await play(cell)
        except Failed as failure:
            why = f"{failure}\n{cell.story()}"
        except Exception:  # noqa: BLE001
            # Of the run itself, or of an answer of another form than any that is expected.
            why = f"{traceback.format_exc()}\n{cell.story()}"
    return Outcome(FAIL if why else PASS, time.monotonic() - began, why)


def markdown(clients: Sequence[Client], chosen: Sequence[Scenario], outcomes: Outcomes) -> str:
    """The table: a row for each scenario, a column for each client."""
    names = [client.name for client in clients]
    rows = [["scenario", *names], ["---"] * (len(names) + 1)]
    for scenario in chosen:
        words = [outcomes[name, scenario.name].word for name in names]
        rows.append([f"`{scenario.name}`", *words])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def promised(clients: Sequence[Client], chosen: Sequence[Scenario]) -> Outcomes:
    """What the table has to be on a machine with all toolchains."""
    return {
        (client.name, scenario.name): Outcome(PASS if scenario.of(client) else NOTHING)
        for client in clients
        for scenario in chosen
    }
