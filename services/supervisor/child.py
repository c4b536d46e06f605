"""One child process: started, watched, started again when it ends, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from core.backoff import backoff
from core.serving import StartupError
from services.supervisor.forked import ForkServer, Process
from services.supervisor.output import Output
from services.supervisor.spec import ChildSpec
from services.supervisor.starting import start_process

log = structlog.get_logger()

_FIRST_DELAY = 0.5
_MAX_DELAY = 30.0
# After so long in health, an end counts as the first one again.
_FORGIVEN_AFTER = 60.0
# A child that ends so often without ever having been healthy will not be.
_START_ATTEMPTS = 3


def restart_delay(ends: int) -> float:
    """Seconds until a child is started again that has ended so often in a row."""
    return backoff(_FIRST_DELAY, ends, _MAX_DELAY)


class Child:
    """Keeps a process of a spec running. `on_ready` is called each time it is healthy.

    fork_server: see start_process.
    """

    def __init__(
        self,
        spec: ChildSpec,
        output: Output,
        on_ready: Callable[[], None],
        fork_server: ForkServer | None = None,
    ) -> None:
        self.spec = spec
        self._fork_server = fork_server
        self.ready = asyncio.Event()
        """Set while the process is healthy, as far as is known."""
        self.task: asyncio.Task[None] | None = None
        """Ends after `stop`, or with StartupError if the child never became healthy."""
        self._output = output
        self._on_ready = on_ready
        self._process: Process | None = None
        self._stop_wanted = asyncio.Event()
        self._ready_at: float | None = None
        self._healthy_pid: int | None = None

    @property
    def pid(self) -> int | None:
        """Of the latest process that was healthy; None before the first one is."""
        return self._healthy_pid

    def start(self) -> None:
        """Begin to keep the process running."""
        self.task = asyncio.create_task(self._keep_running(), name=self.spec.name)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after the grace; returns when the process is gone.

        Can be called twice, and before start.
        """
        self._stop_wanted.set()
        if self.task is None:
            return
        self._terminate()
        _, unfinished = await asyncio.wait({self.task}, timeout=self.spec.stop_grace)
        if unfinished:
            log.warning("child_killed", child=self.spec.name, after_seconds=self.spec.stop_grace)
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
            await asyncio.wait({self.task})

    def _terminate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def _keep_running(self) -> None:
        ends = 0
        while not self._stop_wanted.is_set():
            code = await self._run_once()
            if self._stop_wanted.is_set():
                return
            if self._healthy_for() >= _FORGIVEN_AFTER:
                ends = 0
            ends += 1
            if self._healthy_pid is None and ends == _START_ATTEMPTS:
                where = self.spec.log_hint or self._output.hint(self.spec.name)
                what = "could not be started" if code is None else f"ended with exit code {code}"
                raise StartupError(
                    f"{self.spec.name} {what} before it was ready, {ends} times: {where}"
                )
            delay = restart_delay(ends)
            log.warning("child_ended", child=self.spec.name, exit_code=code, restart_in=delay)
            try:
                async with asyncio.timeout(delay):
                    await self._stop_wanted.wait()
            except TimeoutError:
                continue

    async def _run_once(self) -> int | None:
        """Its exit code; None where the machine has no process, memory or descriptor for it."""
        self._ready_at = None
        try:
            process = self._process = await self._launch()
        except OSError as error:
            # The other children have all they need: it is tried again as after an end.
            log.warning("child_not_started", child=self.spec.name, cause=str(error))
            return None
        if self._stop_wanted.is_set():
            self._terminate()
        log.debug("child_started", child=self.spec.name, pid=process.pid)
        probing = asyncio.create_task(self._await_health(process.pid))
        relaying = (
            asyncio.create_task(self._output.relay(self.spec.name, process.stdout))
            if process.stdout is not None
            else None
        )
        code = await process.wait()
        probing.cancel()
        self.ready.clear()
        if relaying is not None:
            await relaying
        return code

    async def _launch(self) -> Process:
        target = self._output.open(self.spec.name)
        try:
            return await start_process(
                self.spec.command, self.spec.environment, target, self._fork_server
            )
        finally:
            if not isinstance(target, int):
                target.close()

    async def _await_health(self, pid: int) -> None:
        await self.spec.probe()
        self._ready_at = asyncio.get_running_loop().time()
        self._healthy_pid = pid
        self.ready.set()
        self._on_ready()
        log.info("child_ready", child=self.spec.name, pid=pid)

    def _healthy_for(self) -> float:
        if self._ready_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._ready_at
