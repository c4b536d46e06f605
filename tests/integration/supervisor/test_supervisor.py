"""Children: order of start and stop, restarts, and giving up."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.serving import StartupError
from services.supervisor.child import restart_delay
from services.supervisor.output import Output
from services.supervisor.spec import ChildSpec
from services.supervisor.supervisor import Supervisor
from tests.integration.supervisor.conftest import Reports


class Running:
    """A supervisor under test and what it has announced."""

    def __init__(self, stages: Sequence[Sequence[ChildSpec]], ready_timeout: float = 30) -> None:
        self.announced: asyncio.Queue[Mapping[str, int]] = asyncio.Queue()
        self.stop = asyncio.Event()
        supervisor = Supervisor(
            stages,
            output=Output(None),
            on_ready=self.announced.put_nowait,
            ready_timeout=ready_timeout,
        )
        self.task = asyncio.create_task(supervisor.run(self.stop))

    async def ready(self) -> Mapping[str, int]:
        return await asyncio.wait_for(self.announced.get(), 20)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 20)


async def test_stages_start_in_order_and_stop_in_reverse(reports: Reports) -> None:
    running = Running(
        [[reports.spec("nats")], [reports.spec("collector"), reports.spec("gateway")]]
    )
    pids = await running.ready()
    assert pids == reports.pids
    assert reports.said[0] == "nats started"
    await running.end()
    stops = [said for said in reports.said if said.endswith("stopping")]
    assert stops == ["gateway stopping", "collector stopping", "nats stopping"]
    # Each one was gone before the next was told.
    gone = [said for said in reports.said if said.endswith(("stopping", "gone"))]
    assert gone.index("gateway gone") < gone.index("collector stopping")


async def test_a_child_that_dies_is_started_again(reports: Reports) -> None:
    running = Running([[reports.spec("one"), reports.spec("two")]])
    before = await running.ready()
    os.kill(before["one"], signal.SIGKILL)
    after = await running.ready()
    assert after["one"] == reports.pids["one"] != before["one"]
    assert after["two"] == before["two"]
    os.kill(after["one"], signal.SIGKILL)
    assert (await running.ready())["one"] not in (before["one"], after["one"])
    await running.end()


async def test_a_machine_without_another_process_costs_no_other_child(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running([[reports.spec("one"), reports.spec("two")]])
    before = await running.ready()
    start, refusals = asyncio.create_subprocess_exec, iter([errno.EAGAIN, errno.EMFILE])

    async def crowded(*of: Any, **options: Any) -> Any:
        number = next(refusals, None)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return await start(*of, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", crowded)
    os.kill(before["one"], signal.SIGKILL)
    after = await running.ready()
    assert after["two"] == before["two"]
    assert after["one"] == reports.pids["one"] != before["one"]
    await running.end()


def test_restarts_come_ever_more_slowly_up_to_a_limit() -> None:
    delays = [restart_delay(ends) for ends in range(1, 10)]
    assert delays[:4] == [0.5, 1, 2, 4]
    assert delays[-1] == 30
    assert restart_delay(1_000_000) == 30


async def test_a_child_that_never_gets_ready_ends_the_start(reports: Reports) -> None:
    running = Running([[reports.spec("good")], [reports.spec("broken", "crash")]])
    with pytest.raises(StartupError, match=r"broken ended with exit code 3 .* 3 times"):
        await asyncio.wait_for(running.task, 20)
    assert reports.said.count("broken crashing") == 3
    await reports.wait("good gone")


async def test_a_child_that_stays_mute_ends_the_start(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running([[reports.spec("good")], [reports.spec("mute", "mute")]], ready_timeout=600)
    await reports.wait("mute mute")
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + 600)
    with pytest.raises(StartupError, match="not ready after 600 seconds: mute"):
        await asyncio.wait_for(running.task, 20)
    await reports.wait("good gone")
    await reports.wait("mute gone")


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(reports: Reports) -> None:
    running = Running([[reports.spec("stubborn", "stubborn", stop_grace=0.3)]])
    await running.ready()
    await running.end()
    assert reports.said[:2] == ["stubborn started", "stubborn stopping"]
    await reports.wait("stubborn gone")


async def test_stopping_while_a_child_is_not_ready_yet(reports: Reports) -> None:
    running = Running([[reports.spec("mute", "mute")], [reports.spec("later")]])
    await reports.wait("mute mute")
    await running.end()
    await reports.wait("mute gone")
    assert "later started" not in reports.said
    assert running.announced.empty()


async def test_stopping_while_a_child_waits_for_its_restart(reports: Reports) -> None:
    running = Running([[reports.spec("one")]])
    pids = await running.ready()
    os.kill(pids["one"], signal.SIGKILL)
    await reports.wait("one gone")
    await running.end()
    assert reports.said.count("one started") == 1


async def test_logs_go_to_a_file_for_each_child(reports: Reports, tmp_path: Path) -> None:
    stop = asyncio.Event()
    ready = asyncio.Event()
    supervisor = Supervisor(
        [[reports.spec("one"), reports.spec("two")]],
        output=Output(tmp_path / "logs"),
        on_ready=lambda pids: ready.set(),
    )
    task = asyncio.create_task(supervisor.run(stop))
    await asyncio.wait_for(ready.wait(), 20)
    stop.set()
    await task
    for name in ("one", "two"):
        assert (tmp_path / "logs" / f"{name}.log").read_text() == f"{name} says hello\n"
