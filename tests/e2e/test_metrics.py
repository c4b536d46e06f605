"""What Prometheus reads from the running services."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from polybatch import BatchState
from prometheus_client.parser import text_string_to_metric_families

from tests.support.e2e.inputs import chat, write
from tests.support.e2e.suite import Suite, wait_for

SERVICES = {"gateway", "dispatcher", "collector"}


class Scrape:
    """The samples of all services at one moment."""

    def __init__(self, suite: Suite) -> None:
        self.samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        self.text = ""
        for url in suite.ready["metrics"].values():
            with urllib.request.urlopen(url, timeout=30) as answer:
                text = answer.read().decode()
            self.text += text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found = self.samples.setdefault(sample.name, [])
                    found.append((sample.labels, sample.value))

    def total(self, name: str, **labels: str) -> float:
        """The sum over all services and over the labels that are not given."""
        return sum(
            value for found, value in self.samples.get(name, []) if labels.items() <= found.items()
        )

    def in_ledger(self, name: str, **labels: str) -> float:
        """The same of what each collector reads in the one ledger, as the dashboard does it."""
        most: dict[tuple[tuple[str, str], ...], float] = {}
        for found, value in self.samples.get(name, []):
            if labels.items() <= found.items():
                key = tuple(sorted(found.items()))
                most[key] = max(value, most.get(key, value))
        return sum(most.values())


def test_a_batch_is_counted_wherever_it_comes_by(suite: Suite, tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", (chat(number) for number in range(20)))
    before = Scrape(suite)
    with suite.client() as client:
        batch = client.submit(path)
        assert client.wait(batch.id, timeout=60).state == BatchState.COMPLETED
        results = list(client.results(batch.id))
    rpc, work = "polybatch_rpc_seconds_count", "polybatch_work_seconds_count"
    after = before

    def grown(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    def last_ones_counted() -> bool:
        nonlocal after
        after = Scrape(suite)
        # Both end a moment after the client has seen what they did.
        return bool(
            grown(rpc, method="polybatch.v1.ResultService/DownloadResults", code="OK")
            and grown(work, step="assemble", outcome="done")
        )

    wait_for(last_ones_counted, "the download and the assembling to be counted")

    assert len(results) == 20
    replicas = suite.ready["addresses"].keys()
    assert {name for name in suite.ready["metrics"] if not name.startswith("web")} == replicas
    assert {name.partition("@")[0].partition("-")[0] for name in replicas} == SERVICES
    assert grown("polybatch_batches_created_total") == 1
    assert grown("polybatch_batches_ended_total", state="completed") == 1
    assert grown("polybatch_upload_bytes_total") == path.stat().st_size
    assert grown("polybatch_upload_lines_total", verdict="valid") == 20
    for provider in ("openai", "anthropic"):
        settled = grown("polybatch_lines_settled_total", provider=provider, outcome="succeeded")
        assert settled == 10
        assert grown("polybatch_tokens_total", provider=provider, kind="output") > 0
        for kind in ("create", "read", "download"):
            count = "polybatch_provider_call_seconds_count"
            assert grown(count, provider=provider, kind=kind, code="200") > 0, kind
        assert grown("polybatch_provider_sent_bytes_total", provider=provider) > 1000
        assert grown("polybatch_provider_received_bytes_total", provider=provider) > 1000
        assert grown("polybatch_poll_lag_seconds_count", provider=provider) > 0
    for step in ("plan", "submit", "fetch", "assemble"):
        assert grown(work, step=step, outcome="done") > 0, step
        assert grown("polybatch_work_wait_seconds_count", step=step) > 0, step
    assert after.total("polybatch_work_in_hand", step="plan") == 0
    assert after.total("polybatch_bus_connected") == len(replicas)
    for dependency in ("ledger", "blobs", "bus"):
        assert after.total("polybatch_dependency_up", dependency=dependency) == len(replicas)
    assert grown(rpc, method="polybatch.v1.ResultService/DownloadResults", code="OK") == 1
    assert after.total("polybatch_disk_free_bytes") > 0
    processes = len(suite.ready["metrics"])
    assert len(after.samples["process_resident_memory_bytes"]) == processes
    # What a process never sets it does not export as 0.
    assert len(after.samples["polybatch_bus_connected"]) == len(replicas)


def test_nothing_in_the_metrics_was_chosen_by_a_caller(suite: Suite, tmp_path: Path) -> None:
    line = chat(2, "a secret question")
    line["body"]["model"] = "openai/gpt-6-of-a-caller"
    path = write(tmp_path / "in.jsonl", [line])
    with suite.client() as client:
        batch = client.submit(path)
        client.wait(batch.id, timeout=60)
    text = Scrape(suite).text
    key = (suite.data_dir / "api-key").read_text().strip()
    for word in (
        batch.id,
        "acct_",
        "line-2",
        "secret question",
        "of-a-caller",
        key,
        "sandbox-openai",
    ):
        assert word not in text, word
    # A model is named only by the catalogue's id of it.
    assert 'polybatch_spend_usd_total{model="other",provider="openai"} 0.0' in text


@pytest.mark.long
def test_what_is_under_way_is_right_after_a_restart(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=600)
    path = write(tmp_path / "in.jsonl", (chat(number) for number in range(8)))
    before = Scrape(suite).in_ledger("polybatch_shard_lines", state="submitted")

    def waiting() -> float:
        return Scrape(suite).in_ledger("polybatch_shard_lines", state="submitted") - before

    with suite.client() as client:
        batch = client.submit(path)
        wait_for(lambda: waiting() == 8, "the lines to be submitted")
        suite.kill("collector")
        scrape = Scrape(suite)
        assert waiting() == 8
        assert scrape.in_ledger("polybatch_ledger_read") == 1, "the collectors read the ledger"
        assert scrape.in_ledger("polybatch_batches", state="in_progress") >= 1
        assert scrape.in_ledger("polybatch_lines", state="submitted") >= 8
        assert scrape.in_ledger("polybatch_batches_overdue") == 0
        client.cancel_batch(batch.id)
        client.wait(batch.id, timeout=60)
    wait_for(lambda: waiting() == 0, "nothing to wait any more")
