"""The client of this repository's own language goes through the conformance run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conformance.clients import CLIENTS, ROOT
from tests.conformance.run import PASS, SCENARIOS, markdown, promised, run
from tests.conformance.stand import running_stand


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_python_client(tmp_path: Path) -> None:
    python = [client for client in CLIENTS if client.name == "python"]
    with running_stand(tmp_path) as suite:
        outcomes = asyncio.run(
            run(suite, python, SCENARIOS, tmp_path / "cells", lambda *_told: None)
        )
    failed = [f"{names}: {o.why}" for names, o in outcomes.items() if o.word != PASS]
    assert not failed, "\n\n".join(failed)
    assert len(outcomes) == len(SCENARIOS)


def test_the_documents_have_the_table_of_this_run() -> None:
    table = markdown(CLIENTS, SCENARIOS, promised(CLIENTS, SCENARIOS))
    assert table in (ROOT / "clients/README.md").read_text()
    contract = (ROOT / "tests/conformance/README.md").read_text()
    rows = [line.split("`")[1] for line in contract.splitlines() if line.startswith("| `")]
    assert rows[-len(SCENARIOS) :] == [scenario.name for scenario in SCENARIOS]
