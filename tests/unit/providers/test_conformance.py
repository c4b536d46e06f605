"""Every adapter against the contract, over HTTP with the sandbox."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.providers import (
    Absent,
    FindOutcome,
    Found,
    Gate,
    Intent,
    Listed,
    Outcome,
    OutcomeUnknown,
    Provider,
    Refused,
    RemoteBatch,
    RemoteState,
    ResultLine,
    SubmitOutcome,
    Upload,
)
from core.providers.conformance import CASES, Case, Nonconformity, run
from tests.support.providers.conformance_stand import (
    KEY,
    OPENAI,
    VENDORS,
    Prompter,
    SandboxStand,
    Vendor,
    running_sandbox,
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Prompter]]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


# The rest of those in OpenAI's form differ in what test_openai_dialects.py is about.
QUICK = {"openai", "anthropic"}


@pytest.fixture(
    params=[
        pytest.param(each, id=each.slug, marks=() if each.slug in QUICK else pytest.mark.long)
        for each in VENDORS
    ]
)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    found: Vendor = request.param
    return found


@pytest.fixture
async def stand(
    vendor: Vendor,
    sandbox: tuple[str, Prompter],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[SandboxStand]:
    for slug in ("acme", "mistral"):
        monkeypatch.setenv(f"{slug.upper()}_API_KEY", KEY if vendor.slug == slug else "")
    # What is tried again is tried again at once.
    monkeypatch.setattr("core.providers.http.retries.FIRST_DELAY", 0.001)
    made = SandboxStand(vendor, *sandbox, tmp_path)
    await made.reset()
    yield made
    await made.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_conformance(case: Case, stand: SandboxStand, tmp_path: Path) -> None:
    if not case.calls <= stand.calls:
        pytest.skip("the provider has no such call")
    await run(case, stand, tmp_path)


class Flawed:
    """An adapter that passes everything on; those below do one thing wrong."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


class SendsTwice(Flawed):
    async def submit(self, intent: Intent, source: Path | Upload, **options: Any) -> SubmitOutcome:
        outcome = await self._provider.submit(intent, source, **options)
        if isinstance(outcome, OutcomeUnknown):
            return await self._provider.submit(intent, source, **options)
        return outcome


class PassesTheGate(Flawed):
    async def submit(self, intent: Intent, source: Path | Upload, *, gate: Gate) -> SubmitOutcome:
        return await self._provider.submit(intent, source)


class FindsNothing(Flawed):
    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        return Absent()


class FindsAnything(Flawed):
    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        found = await self._provider.find(intent, known, quiet_since=quiet_since)
        return Found("batch_1") if isinstance(found, Absent) else found


class TakesUnknownStatesForEnds(Flawed):
    async def poll(self, remote_id: str) -> RemoteBatch:
        batch = await self._provider.poll(remote_id)
        known = batch.native_status != "pondering"
        return batch if known else dataclasses.replace(batch, state=RemoteState.FAILED)


class ListsNothing(Flawed):
    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        return Listed({}, 1)


class SwapsAnswers(Flawed):
    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        async with aclosing(self._provider.results(batch)) as groups:
            async for group in groups:
                ids = [line.custom_id for line in group]
                yield [
                    dataclasses.replace(line, custom_id=other)
                    for line, other in zip(group, reversed(ids), strict=True)
                ]


class TakesFailuresForSuccesses(Flawed):
    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        async with aclosing(self._provider.results(batch)) as groups:
            async for group in groups:
                yield [dataclasses.replace(line, outcome=Outcome.SUCCEEDED) for line in group]


class KeepsInputs(Flawed):
    async def discard(self, remote_file_id: str) -> None:
        return None


class ForgetsUploads(Flawed):
    async def submit(self, intent: Intent, source: Path | Upload, **options: Any) -> SubmitOutcome:
        outcome = await self._provider.submit(intent, source, **options)
        if isinstance(outcome, Refused):
            return dataclasses.replace(outcome, upload=Upload())
        return outcome


class FindsNoStrays(Flawed):
    async def discard_all(self, shard_id: str, since: datetime) -> int:
        return 0


class LogsTheKey(Flawed):
    async def poll(self, remote_id: str) -> RemoteBatch:
        structlog.get_logger().info("polled", header=f"Bearer {KEY}")
        return await self._provider.poll(remote_id)


class FlawedStand(SandboxStand):
    flaw: type[Flawed]

    def open(self, *, timeout: float, settle: float) -> Provider:
        flawed: Any = self.flaw(super().open(timeout=timeout, settle=settle))
        provider: Provider = flawed
        return provider


@pytest.mark.parametrize("vendor", [OPENAI], ids=["openai"])
@pytest.mark.long
@pytest.mark.parametrize(
    ("flaw", "name"),
    [
        (SendsTwice, "a_lost_answer"),
        (PassesTheGate, "a_gate_that_stays_closed"),
        (PassesTheGate, "a_gate_that_opens"),
        (FindsNothing, "a_lost_answer"),
        (FindsAnything, "a_create_that_never_arrived"),
        (TakesUnknownStatesForEnds, "a_state_that_nobody_knows"),
        (ListsNothing, "many_are_seen_at_once"),
        (ListsNothing, "more_than_a_page"),
        (SwapsAnswers, "every_line_is_answered_once"),
        (TakesFailuresForSuccesses, "lines_that_fail"),
        (KeepsInputs, "inputs_are_discarded"),
        (ForgetsUploads, "a_refused_create_keeps_its_upload"),
        (KeepsInputs, "a_kept_upload_that_is_gone"),
        (FindsNoStrays, "uploads_that_nobody_knows_are_found_by_name"),
        (LogsTheKey, "a_cancel_that_comes_too_late"),
    ],
)
async def test_flaws_are_noticed(
    flaw: type[Flawed], name: str, stand: SandboxStand, tmp_path: Path
) -> None:
    (case,) = (case for case in CASES if case.name == name)
    await run(case, stand, tmp_path)
    await stand.reset()
    stand.__class__ = FlawedStand
    stand.flaw = flaw  # type: ignore[attr-defined]
    with pytest.raises(Nonconformity):
        await run(case, stand, tmp_path)
