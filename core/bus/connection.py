"""The connection to NATS and the work stream behind it: there again after every outage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from core.bus.work import STREAM, WORK_SUBJECTS, BusUnavailable
from core.failpoints import Failpoint, writing
from core.metrics import BUS_CONNECTED

log = structlog.get_logger()

Restore: TypeAlias = Callable[[], Awaitable[None]]
"""Makes sure that something is there on the server."""

_RECONNECT_WAIT = 0.2
# Nothing ends a connection to a machine that is gone but missed pings: of these, the third.
_PING_INTERVAL = 3
_REQUEST_TIMEOUT = 2.0
_RETRY_PAUSE = 0.1
_DUPLICATE_WINDOW = 120.0
_REFUSED = "authorization violation"
_SILENT_STORE_LIMIT = 8.0
_LONG_OUTAGE_PATIENCE = 1.0


def public_url(url: str) -> str:
    """The URL, or several separated by commas, without user names and passwords."""
    return re.sub(r"//[^/@,]*@", "//", url)


def _login(servers: Sequence[str]) -> dict[str, Any]:
    """The login in the first URL that has one.

    nats-py uses a URL's own login for that node alone, not for those that the cluster
    tells of.
    """
    for server in servers:
        parts = urlsplit(server)
        if parts.username and parts.password is None:
            return {"token": unquote(parts.username)}
        if parts.username:
            return {"user": unquote(parts.username), "password": unquote(parts.password or "")}
    return {}


class Connection:
    """One connection of one process to NATS."""

    def __init__(self, *, patience: float, replicas: int | None, default_replicas: int) -> None:
        self.nc = Client()
        self.js = self.nc.jetstream(timeout=_REQUEST_TIMEOUT)
        self._patience = patience
        self._replicas = replicas
        self._default_replicas = default_replicas
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._recovery: asyncio.Task[None] | None = None
        self._restores: list[Restore] = []
        self._closing = False
        self._closed = False
        self._starting = True
        self._lost_at: float | None = None
        """When the last connection was lost; None: it was not."""
        self._reached = asyncio.Event()
        self._unanswered_since: float | None = None
        self._last_error: Exception | None = None
        self.incarnation: datetime | None = None
        """When the stream was created: changes when the server's store was lost."""

    @property
    def ready(self) -> bool:
        """Whether the server is connected and the work stream is there."""
        return self._up.is_set() and self.nc.is_connected

    async def open(self, url: str, *, name: str, timeout: float) -> None:  # noqa: ASYNC109
        """Connect, and create the work stream if it is not there: see Bus.connect.

        Raises BusUnavailable, and is closed then.
        """
        servers = url.split(",")
        try:
            async with asyncio.timeout(timeout):
                await self.nc.connect(
                    servers,
                    name=name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT,  # type: ignore[arg-type]
                    ping_interval=_PING_INTERVAL,
                    **_login(servers),
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnect,
                    reconnected_cb=self._on_reconnect,
                )
                self._starting = False
                await self._recover()
        except BusUnavailable:
            await self.close()
            raise
        except TimeoutError as error:
            await self.close()
            raise BusUnavailable(
                f"no NATS server with JetStream answered at {public_url(url)}"
                f" (last error: {self._last_error})"
            ) from error

    def on_recovery(self, restore: Restore) -> None:
        """Call this, too, whenever the server may have lost what it had. Raises nats errors."""
        self._restores.append(restore)

    async def wait_up(self) -> None:
        """Wait until the server is connected and the work stream is there."""
        await self._up.wait()

    async def wait_down(self) -> None:
        """Wait until the server is away, or the bus closed."""
        await self._down.wait()

    async def reach(self) -> None:
        """Raise TimeoutError soon while no server has been reached for long.

        A moment is waited out. In a long outage not every publish waits as long again.
        """
        if self.nc.is_connected or self._lost_at is None:
            return
        if asyncio.get_running_loop().time() - self._lost_at >= self._patience:
            async with asyncio.timeout(_LONG_OUTAGE_PATIENCE):
                await self._reached.wait()

    async def ensure_stream(self) -> None:
        """Create the work stream if it is missing. Raises nats errors.

        An existing stream keeps what its operator has set, but for the replicas if they
        are a setting.
        """
        try:
            info = await self.js.stream_info(STREAM)
        except NotFoundError:
            config = StreamConfig(
                name=STREAM,
                subjects=[WORK_SUBJECTS],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                duplicate_window=_DUPLICATE_WINDOW,
                num_replicas=self._replicas or self._default_replicas,
            )
            with writing(Failpoint.STREAM_CREATE):
                info = await self.js.add_stream(config)
            log.debug("work_stream_created", replicas=info.config.num_replicas)
        if self._replicas and info.config.num_replicas != self._replicas:
            with writing(Failpoint.STREAM_CREATE):
                info = await self.js.update_stream(info.config.evolve(num_replicas=self._replicas))
            log.info("work_stream_changed", replicas=self._replicas)
        self.incarnation = info.created

    async def ensure_stream_or_log(self) -> None:
        """Create the work stream if that can be done now."""
        try:
            await self.ensure_stream()
        except (NatsError, APIError) as error:
            log.info("work_stream_not_ready", cause=repr(error))

    async def look_at_silence(self) -> None:
        """Begin a new stream where the server is there but has answered no publish for long.

        After a full disk nats-server (2.15) goes on with a stream that takes no message,
        without an answer, until it is restarted. What is lost with it the sweep finds.
        """
        moment = asyncio.get_running_loop().time()
        if self._unanswered_since is None:
            self._unanswered_since = moment
        if moment - self._unanswered_since < _SILENT_STORE_LIMIT:
            return
        try:
            info = await self.js.stream_info(STREAM)
            if (info.config.num_replicas or 1) > 1:
                # A cluster looks after its nodes itself, and may be choosing a leader.
                return
            if info.created == self.incarnation:
                with writing(Failpoint.STREAM_CREATE):
                    await self.js.delete_stream(STREAM)
                log.warning("work_stream_replaced", cause="it stored nothing any more")
            await self.ensure_stream()
        except (NatsError, APIError) as error:
            log.info("work_stream_not_replaced", cause=repr(error))
        else:
            self._unanswered_since = None

    def answered(self) -> None:
        """The server has stored something, or said why not."""
        self._unanswered_since = None

    async def close(self) -> None:
        """Disconnect. Can be called twice."""
        if self._closing:
            return
        self._closing = True
        if self._recovery is not None:
            self._recovery.cancel()
        try:
            await self.nc.close()
        except OSError as error:
            # The connection broke while it was being closed.
            log.debug("bus_close_failed", cause=repr(error))
        except asyncio.CancelledError:
            # nats-py cancels its own reconnecting, and with it the future that says that
            # the old transport is closed, which it waits for next.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        finally:
            self._closed = True
        self._mark(up=False)

    async def _recover(self) -> None:
        """After (re)connecting: wait for JetStream, restore what it lost, go on."""
        while True:
            try:
                await self.ensure_stream()
                for restore in self._restores:
                    await restore()
            except (NatsError, OSError) as error:
                self._last_error = error
                # JetStream answers some time after the server takes connections.
                log.info("bus_recovery_retried", cause=repr(error))
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                self._mark(up=True)
                return

    def _mark(self, *, up: bool) -> None:
        if not up:
            self._unanswered_since = None
        (self._up if up else self._down).set()
        (self._down if up else self._up).clear()
        BUS_CONNECTED.set(up)

    async def _on_disconnect(self) -> None:
        self._mark(up=False)
        if self._reached.is_set() or self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
            self._reached.clear()
        if self._recovery is not None:
            self._recovery.cancel()
        if not self._closing:
            log.warning("bus_disconnected")

    async def _on_reconnect(self) -> None:
        if self._closed:
            self._recovery = asyncio.create_task(self.nc.close())
            return
        log.info("bus_reconnected")
        self._reached.set()
        # Not awaited here: nats-py goes on reconnecting only after this callback returns.
        self._recovery = asyncio.create_task(self._recover())

    async def _on_error(self, error: Exception) -> None:
        if self._closed:
            # nats-py's cancelling of its own reconnecting gets lost when an attempt fails in
            # the same moment (asyncio.wait_for before Python 3.12): it would go on for ever.
            raise asyncio.CancelledError
        self._last_error = error
        log.debug("bus_error", cause=repr(error))
        if self._starting and _REFUSED in str(error).lower():
            # nats-py would try again at once, and for ever.
            raise BusUnavailable(f"NATS refuses the login of POLYBATCH_NATS_URL: {error}")
