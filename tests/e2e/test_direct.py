"""Providers without a batch API: the dispatcher makes the calls itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from direct import Server, ask, direct_suite, free_port, running_server
from inputs import chat, check_answers, write
from polybatch import BatchState
from suite import Suite, wait_for


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), port) as server:
        yield server


@pytest.fixture(scope="module")
def own_suite(
    tmp_path_factory: pytest.TempPathFactory, port: int, own_server: Server
) -> Iterator[Suite]:
    with direct_suite(tmp_path_factory.mktemp("direct"), port) as suite:
        yield suite


@pytest.fixture
def server(own_server: Server) -> Server:
    own_server.reset()
    return own_server


@pytest.fixture
def suite(own_suite: Suite) -> Suite:
    own_suite.reset_sandbox()
    return own_suite


def test_one_file_for_all_kinds_of_providers(suite: Suite, server: Server, tmp_path: Path) -> None:
    count = 1000
    lines = (ask(n, ("local", "paid")[n % 4 // 2]) if n % 4 < 3 else chat(n) for n in range(count))
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "mixed.jsonl", lines))
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.COMPLETED
        assert ended.request_counts.succeeded == count
        answered = list(check_answers(client.results(batch.id), range(count)))
        assert all(line.ok for line in answered)
        assert {line.attempts for line in answered} == {1}
        manifest = client.manifest(batch.id)
    shards = Counter(shard.provider for shard in manifest.shards)
    assert shards["local"] == 2, "500 lines, 300 a shard"
    assert shards["paid"] == 1
    assert shards["openai"] + shards["anthropic"] == 1
    bill = server.bill
    assert (bill["lines_billed"], bill["extra_billings"]) == (750, 0)
    assert bill["calls"]["most_at_once"] <= 2 * 16, "two providers at one server"
