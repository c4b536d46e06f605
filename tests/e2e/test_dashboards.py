"""The dashboard and the alerts ask for what the services really export, and say what to do."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from polybatch import BatchState
from prometheus_client.parser import text_string_to_metric_families

from tests.support.e2e.inputs import chat, write
from tests.support.e2e.suite import ROOT, Suite

_NAME = re.compile(r"\b(?:polybatch|process)_[a-z_]+\b|\bup\b(?=\{)")
_SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')
_BY = re.compile(r"\bby \(([^)]*)\)")
# Of Prometheus itself, not of a service.
_OF_PROMETHEUS = {"up"}
_TARGET_LABELS = {"job", "instance", "le"}


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((ROOT / "deploy/grafana/polybatch.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@dataclass
class Exported:
    """Names of all metrics that the services export, and the labels of those with values."""

    names: set[str] = field(default_factory=set)
    labels: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, suite: Suite) -> Exported:
        exported = cls()
        for url in suite.ready["metrics"].values():
            with urllib.request.urlopen(url, timeout=30) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
            for family in families:
                suffixes = {
                    "counter": ("_total",),
                    "histogram": ("_bucket", "_count", "_sum"),
                }.get(family.type, ("",))
                exported.names.update(family.name + suffix for suffix in suffixes)
                for sample in family.samples:
                    exported.labels.setdefault(sample.name, set()).update(sample.labels)
        return exported


@pytest.fixture(scope="module")
def exported(shared_suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """After a batch with a failed line and a cancelled one, so that most metrics have values."""
    shared_suite.reset_sandbox()
    path = write(tmp_path_factory.mktemp("in") / "in.jsonl", (chat(number) for number in range(4)))
    with shared_suite.client() as client:
        batch = client.submit(path)
        assert client.wait(batch.id, timeout=60).state == BatchState.COMPLETED
        assert len(list(client.results(batch.id))) == 4
        shared_suite.reset_sandbox(batch_seconds=600)
        waiting = client.submit(path)
        found = Exported.read(shared_suite)
        client.cancel_batch(waiting.id)
        client.wait(waiting.id, timeout=60)
    return found


@pytest.mark.parametrize(("place", "expression"), [*expressions()], ids=lambda text: text[:40])
def test_every_metric_and_label_exists(exported: Exported, place: str, expression: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(_NAME.findall(bare))
    assert names, place
    assert names <= exported.names | _OF_PROMETHEUS
    known = set().union(*(exported.labels.get(name, set()) for name in names)) | _TARGET_LABELS
    asked = {label for _, labels in _SELECTOR.findall(bare) for label in _LABEL.findall(labels)}
    asked |= {label.strip() for labels in _BY.findall(bare) for label in labels.split(",")}
    if any(name in exported.labels for name in names):
        assert asked <= known, place


def test_every_metric_of_ours_is_on_the_dashboard(exported: Exported) -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported.names}
    ours = {name for name in families if name.startswith("polybatch_")}
    assert not {name for name in ours if name not in shown}


def test_what_alerts_count_is_shown_from_zero(shared_suite: Suite) -> None:
    """A count that comes into being with its first value has not grown, as Prometheus sees it."""
    with urllib.request.urlopen(shared_suite.ready["metrics"]["collector"], timeout=30) as answer:
        text = answer.read().decode()
    for series in (
        'polybatch_unpriced_lines_total{provider="gemini"}',
        'polybatch_lines_settled_total{outcome="failed",provider="gemini"}',
        'polybatch_webhook_seconds_count{outcome="delivered"}',
        'polybatch_webhook_seconds_count{outcome="failed"}',
    ):
        assert f"\n{series} " in text


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))
    for alert in alerts():
        notes = alert["annotations"]
        assert notes.keys() == {"summary", "description", "action", "runbook_url"}
        assert all(notes.values()), alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        page, _, anchor = notes["runbook_url"].partition("#")
        assert page == "docs/operations.md"
        assert anchor in anchors, anchor


def test_every_panel_says_what_it_shows_and_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"]


def test_the_scrape_configuration_fits_the_default_addresses() -> None:
    from core.settings import Settings

    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    fields = Settings.model_fields
    assert targets == {
        f"polybatch-{name}": [fields[f"{name}_metrics_listen"].default]
        for name in ("gateway", "collector", "dispatcher", "web")
    }
    assert config["rule_files"] == ["alerts.yml"]
