"""`make clients-test`: every client through every scenario; the table of it, on stdout."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.clients import CLIENTS
from tests.conformance.run import FAIL, NOTHING, SCENARIOS, SKIPPED, Outcome, markdown, run
from tests.conformance.stand import running_stand


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    client_names, scenario_names = [c.name for c in CLIENTS], [s.name for s in SCENARIOS]
    parser.add_argument("--client", action="append", choices=client_names, metavar="NAME")
    parser.add_argument("--scenario", action="append", choices=scenario_names, metavar="NAME")
    asked = parser.parse_args(arguments)
    clients = [c for c in CLIENTS if c.name in (asked.client or client_names)]
    chosen = [s for s in SCENARIOS if s.name in (asked.scenario or scenario_names)]
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="polybatch-clients-") as folder,
        running_stand(Path(folder)) as suite,
    ):
        outcomes = asyncio.run(run(suite, clients, chosen, Path(folder) / "cells", tell))
    failed = {names: outcome for names, outcome in outcomes.items() if outcome.word == FAIL}
    for (client, scenario), outcome in failed.items():
        again = f"python -m tests.conformance --client {client} --scenario {scenario}"
        print(f"\n{client}, {scenario}: {outcome.why}\nonce more: {again}")
    print(f"\n{markdown(clients, chosen, outcomes)}")
    missing = {client: o.why for (client, _), o in outcomes.items() if o.word == SKIPPED}
    for client, why in missing.items():
        print(f"skipped: {client}: {why}")
    print(f"{len(failed)} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def tell(client: str, scenario: str, outcome: Outcome) -> None:
    """A line of the table as it comes."""
    if outcome.word == NOTHING:
        return
    what = outcome.why.partition("\n")[0] if outcome.why else f"{outcome.seconds:.1f} s"
    print(f"{client:<10}  {scenario:<18}  {outcome.word:<7}  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
