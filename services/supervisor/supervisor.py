"""Starts the children stage by stage, keeps them running, stops them in order.

Not supervisord, circus or honcho: none of them waits for gRPC health before the next stage, and
`make up` has to run with nothing but Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from core.serving import StartupError
from services.supervisor.child import Child
from services.supervisor.forked import ForkServer
from services.supervisor.output import Output
from services.supervisor.spec import ChildSpec

log = structlog.get_logger()


class Supervisor:
    """Runs children in stages: a stage starts once all of the one before are healthy.

    They are stopped one by one in the reverse order. `on_ready` is called with the pids
    by name once all are healthy, and again whenever a child that had ended is.
    ready_timeout: seconds for all of them to become healthy. fork_server: see Child.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[ChildSpec]],
        *,
        output: Output,
        on_ready: Callable[[Mapping[str, int]], None],
        ready_timeout: float = 120.0,
        fork_server: ForkServer | None = None,
    ) -> None:
        self._stages = [
            [Child(spec, output, self._child_ready, fork_server) for spec in stage]
            for stage in stages
        ]
        self._children = [child for stage in self._stages for child in stage]
        self._on_ready = on_ready
        self._ready_timeout = ready_timeout
        self._started = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then stop all children.

        Raises StartupError, with all children stopped, if one does not become healthy.
        """
        stopping = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                keepers = {child.task for child in self._children if child.task is not None}
                await asyncio.wait({stopping, *keepers}, return_when=asyncio.FIRST_COMPLETED)
                for keeper in keepers:
                    if keeper.done():
                        keeper.result()
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            for child in reversed(self._children):
                await child.stop()

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(self._ready_timeout):
                for stage in self._stages:
                    for child in stage:
                        child.start()
                    await asyncio.gather(*(_first_ready(child) for child in stage))
        except TimeoutError as error:
            late = [child.spec.name for child in self._children if not child.ready.is_set()]
            raise StartupError(
                f"not ready after {self._ready_timeout:g} seconds: {', '.join(late)}"
            ) from error
        self._started = True
        self._announce()

    def _child_ready(self) -> None:
        if self._started:
            self._announce()

    def _announce(self) -> None:
        self._on_ready(
            {child.spec.name: child.pid for child in self._children if child.pid is not None}
        )


async def _first_ready(child: Child) -> None:
    """Wait until the child is healthy. Raises StartupError if it will not be."""
    assert child.task is not None
    ready = asyncio.create_task(child.ready.wait())
    try:
        await asyncio.wait({ready, child.task}, return_when=asyncio.FIRST_COMPLETED)
        if child.task.done():
            child.task.result()
    finally:
        ready.cancel()
