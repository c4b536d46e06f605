"""Results of a batch that runs: each line once, whatever breaks off meanwhile."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import grpc
import pytest
from polybatch import DataError, ResultsExtent

from tests.integration.client.conftest import Api
from tests.support.client.batches import result_line, snapshot
from tests.support.client.command import Command
from tests.support.client.fake_partial import Settled
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

BATCH = "batch_1"
END = 2**32 - 1


def line(number: int) -> bytes:
    made = {**result_line(number), "id": f"{BATCH}-{number}"}
    return json.dumps(made, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def settled(fake: FakePolybatch) -> Settled:
    """Six lines that come in three portions: 2 and 5, 1 and 6, then 3 and 4 with the end."""
    portions = {2: (2, 5), 4: (1, 6), 6: (3, 4)}
    fake.settled[BATCH] = Settled(
        [(at, number, line(number)) for at, numbers in portions.items() for number in numbers],
        deque([(2, False), (4, False), (END, True)]),
    )
    fake.batches[BATCH] = [
        snapshot(BATCH, 3, total=6, succeeded=2),
        snapshot(BATCH, 4, total=6, succeeded=4),
        snapshot(BATCH, 7, "COMPLETED", total=6, succeeded=6),
    ]
    return fake.settled[BATCH]


async def test_results_are_followed_to_the_end_of_the_batch(
    api: Api, fake: FakePolybatch, settled: Settled
) -> None:
    """Breaks come within lines and between them, and a collector that ends a stream too early."""
    fake.chunk_bytes = 70
    fake.faults["DownloadResults"] += [
        Fault(after_bytes=300),
        Fault(end_with_ok=True),
        Fault(grpc.StatusCode.INTERNAL, after_bytes=70),
    ]
    extents: list[ResultsExtent] = []
    got = await api.items("results", BATCH, follow=True, on_extent=extents.append)
    assert [found.custom_id for found in got] == [f"request-{n}" for n in (2, 5, 1, 6, 3, 4)]
    assert [found.settled_line_count for found in extents] == [2, 4, 6]
    asked = [request for name, request in fake.calls if name == "DownloadResults"]
    spans = [(each.settled_after, each.settled_until, each.after_line) for each in asked]
    assert spans == [(0, 0, 0), (0, 2, 2), (0, 2, 2), (0, 2, 2), (2, 0, 0), (4, 0, 0)]


async def test_what_is_settled_so_far(api: Api, settled: Settled) -> None:
    extents: list[ResultsExtent] = []
    got = await api.items("result_chunks", BATCH, partial=True, on_extent=extents.append)
    assert b"".join(got) == line(2) + line(5)
    assert extents == [ResultsExtent(True, 2, 2, 2)]


async def test_lines_without_a_number_are_not_followed(api: Api, fake: FakePolybatch) -> None:
    fake.settled[BATCH] = Settled([(1, 1, b'{"id":"one"}\n')], deque([(2, False)]))
    with pytest.raises(DataError, match="which line of the input"):
        await api.items("results", BATCH, partial=True)


def test_the_command_shows_what_there_is(
    command: Command, settled: Settled, tmp_path: Path
) -> None:
    target = tmp_path / "results.jsonl"
    done = command.run("results", BATCH, "--partial", "-o", str(target))
    assert target.read_bytes() == line(2) + line(5)
    assert "2 lines settled so far, none missing up to line 2" in done.stderr
    followed = command.run("results", BATCH, "--follow")
    assert len(followed.stdout.splitlines()) == 6
    refused = command.run("results", BATCH, "--follow", "--merged")
    assert "exclude each other" in refused.stderr
