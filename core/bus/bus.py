"""The connection to NATS: publishing, subscribing, and coming back after an outage."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import structlog
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import Header, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus.consumer import Consumer
from core.bus.work import STREAM, TRACEPARENT, WORK_SUBJECTS, BusUnavailable, Handler, Step
from core.failpoints import Failpoint, writing
from core.metrics import BUS_CONNECTED

log = structlog.get_logger()

EventSubscription: TypeAlias = Subscription

_RECONNECT_WAIT = 0.2
# A dead peer is noticed after interval * (outstanding + 1) seconds.
_PING_INTERVAL = 10
_REQUEST_TIMEOUT = 2.0
_RETRY_PAUSE = 0.1
_DUPLICATE_WINDOW = 120.0
_CLUSTER_REPLICAS = 3
_START_TIMEOUT = 30.0
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


class Bus:
    """One connection of one process to NATS. Made by `connect`, ended by `close`."""

    def __init__(
        self, *, publish_timeout: float, replicas: int | None, default_replicas: int
    ) -> None:
        self._nc = Client()
        self._js = self._nc.jetstream(timeout=_REQUEST_TIMEOUT)
        self._publish_timeout = publish_timeout
        self._replicas = replicas
        self._default_replicas = default_replicas
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._recovery: asyncio.Task[None] | None = None
        self._consumers: list[Consumer] = []
        self._closing = False
        self._closed = False
        self._starting = True
        self._lost_at: float | None = None
        """When the last connection was lost; None: it was not."""
        self._reached = asyncio.Event()
        self._unstored_since: float | None = None
        self._last_error: Exception | None = None
        self.incarnation: datetime | None = None
        """When the stream was created: changes when the server's store was lost."""

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        replicas: int | None = None,
        connect_timeout: float = 30.0,
        publish_timeout: float = 5.0,
    ) -> Bus:
        """Connect, and create the work stream if it is not there.

        url: nats:// or tls:// URL, or several separated by commas: the nodes of one
        cluster. A login in one of them is that of all. name: shown by the server's
        monitoring. replicas: nodes that store the
        work stream, 1 to 5; a stream with another number is changed. None: as it is, or
        for a new stream 3 if the URL names as many nodes, else 1. connect_timeout:
        seconds to wait for a server at first; once connected, the bus keeps reconnecting
        for ever. publish_timeout: see publish_work.

        Raises BusUnavailable.
        """
        servers = url.split(",")
        bus = cls(
            publish_timeout=publish_timeout,
            replicas=replicas,
            default_replicas=_CLUSTER_REPLICAS if len(servers) >= _CLUSTER_REPLICAS else 1,
        )
        try:
            async with asyncio.timeout(connect_timeout):
                await bus._nc.connect(
                    servers,
                    name=name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT,  # type: ignore[arg-type]
                    ping_interval=_PING_INTERVAL,
                    **_login(servers),
                    error_cb=bus._on_error,
                    disconnected_cb=bus._on_disconnect,
                    reconnected_cb=bus._on_reconnect,
                )
                bus._starting = False
                await bus._recover()
        except BusUnavailable:
            await bus.close()
            raise
        except TimeoutError as error:
            await bus.close()
            raise BusUnavailable(
                f"no NATS server with JetStream answered at {public_url(url)}"
                f" (last error: {bus._last_error})"
            ) from error
        return bus

    @property
    def ready(self) -> bool:
        """Whether the server is connected and the work stream is there."""
        return self._up.is_set() and self._nc.is_connected

    async def publish_work(
        self,
        step: Step,
        batch_id: str,
        shard_id: str = "",
        *,
        attempt: str = "",
        traceparent: str = "",
    ) -> None:
        """Put a work item into the queue; returns once the server has stored it.

        Two items of the same step, ids and attempt within two minutes count as one, even
        if the first has been dealt with; without an attempt every item is a new one.
        `traceparent`: span context that the batch was made in, for its trace.

        Raises BusUnavailable when the server has not confirmed within publish_timeout
        seconds, or has been away for as long; it may have stored the item all the same.
        """
        message_id = f"{step}/{batch_id}/{shard_id}/{attempt or uuid.uuid4().hex}"
        payload = WorkItem(batch_id=batch_id, shard_id=shard_id).SerializeToString()
        try:
            await self._reach()
            async with asyncio.timeout(self._publish_timeout):
                while True:
                    await self._up.wait()
                    if await self._try_publish(step, payload, message_id, traceparent):
                        return
                    await asyncio.sleep(_RETRY_PAUSE)
        except TimeoutError as error:
            raise BusUnavailable(f"NATS did not take the work item {message_id}") from error

    async def _try_publish(
        self, step: Step, payload: bytes, message_id: str, traceparent: str
    ) -> bool:
        headers = {Header.MSG_ID.value: message_id}
        if traceparent:
            headers[TRACEPARENT] = traceparent
        try:
            with writing(Failpoint(f"bus.wake.{step}")):
                await self._js.publish(step.subject, payload, stream=STREAM, headers=headers)
        except NoStreamResponseError:
            await self._ensure_stream_or_log()
            return False
        except NatsError as error:
            log.info("work_publish_retried", message_id=message_id, cause=repr(error))
            await self._look_at_silence()
            return False
        self._unstored_since = None
        return True

    async def _look_at_silence(self) -> None:
        """Begin a new stream where the server answers but has stored nothing for long.

        After a full disk nats-server (2.15) goes on with a stream that takes no message,
        without an answer, until it is restarted. What is lost with it the sweep finds.
        """
        moment = asyncio.get_running_loop().time()
        if self._unstored_since is None:
            self._unstored_since = moment
        if moment - self._unstored_since < _SILENT_STORE_LIMIT:
            return
        try:
            info = await self._js.stream_info(STREAM)
            if (info.config.num_replicas or 1) > 1:
                # A cluster looks after its nodes itself, and may be choosing a leader.
                return
            if info.created == self.incarnation:
                with writing(Failpoint.STREAM_CREATE):
                    await self._js.delete_stream(STREAM)
                log.warning("work_stream_replaced", cause="it stored nothing any more")
            await self.ensure_stream()
        except (NatsError, APIError) as error:
            log.info("work_stream_not_replaced", cause=repr(error))
        else:
            self._unstored_since = None

    async def publish_event(self, event: BatchEvent) -> bool:
        """Publish an event; False, and no error, if the server is away just now."""
        if self._nc.is_connected:
            subject = f"polybatch.events.{event.account_id}.{event.batch_id}"
            try:
                with writing(Failpoint.EVENT):
                    await self._nc.publish(subject, event.SerializeToString())
            except NatsError as error:
                log.info("event_dropped", batch_id=event.batch_id, cause=repr(error))
                return False
            return True
        log.info("event_dropped", batch_id=event.batch_id, cause="not connected")
        return False

    async def subscribe_events(
        self, callback: Callable[[BatchEvent], None], account: str = "*", batch: str = "*"
    ) -> EventSubscription:
        """Call `callback` with each event from now on; ends with `unsubscribe()`.

        Survives reconnecting; events published in between are missed. What the callback
        raises is logged. account, batch: ids, or "*" for all.
        """

        async def receive(msg: Msg) -> None:
            try:
                event = BatchEvent.FromString(msg.data)
            except DecodeError:
                log.warning("event_malformed", subject=msg.subject)
                return
            try:
                callback(event)
            except Exception:
                log.exception("event_callback_failed", batch_id=event.batch_id)

        subscription = await self._nc.subscribe(f"polybatch.events.{account}.{batch}", cb=receive)
        if self._nc.is_connected:
            # The server knows of the subscription once it has answered the flush.
            await self._nc.flush()
        return subscription

    async def broadcast(self, topic: str, payload: bytes) -> bool:
        """Tell the other processes something; False, and no error, if the server is away."""
        if not self._nc.is_connected:
            return False
        try:
            with writing(Failpoint.BROADCAST):
                await self._nc.publish(f"polybatch.told.{topic}", payload)
        except NatsError as error:
            log.info("broadcast_dropped", topic=topic, cause=repr(error))
            return False
        return True

    async def listen(self, topic: str, callback: Callable[[bytes], None]) -> EventSubscription:
        """Call `callback` with what is broadcast under a topic from now on, by this process
        too; ends with `unsubscribe()`. What was told while disconnected is missed."""

        async def receive(msg: Msg) -> None:
            callback(msg.data)

        subscription = await self._nc.subscribe(f"polybatch.told.{topic}", cb=receive)
        if self._nc.is_connected:
            await self._nc.flush()
        return subscription

    async def consume(
        self,
        step: Step,
        handler: Handler,
        *,
        concurrency: int,
        ack_wait: float = 30.0,
        stop_grace: float = 10.0,
    ) -> Consumer:
        """Run `handler` for work items of a step, `concurrency` at a time.

        An item is this process's own while its handler runs, however long that takes; it
        goes to another replica `ack_wait` seconds after this process has died. What the
        handler raises is logged, and the item comes back later, ever more slowly.
        `stop_grace`: seconds that Consumer.stop waits for running handlers.

        Raises BusUnavailable.
        """
        consumer = Consumer(
            self,
            self._nc,
            self._js,
            step,
            handler,
            concurrency=concurrency,
            ack_wait=ack_wait,
            stop_grace=stop_grace,
        )
        await self._start(consumer, step)
        self._consumers.append(consumer)
        return consumer

    async def _start(self, consumer: Consumer, step: Step) -> None:
        last: Exception | None = None
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while True:
                    await self._up.wait()
                    try:
                        return await consumer.start()
                    except (NatsError, OSError) as error:
                        # A cluster that moves the stream or looks for a leader.
                        last = error
                        log.info("bus_consumer_retried", step=step, cause=str(error) or repr(error))
                        await asyncio.sleep(_RETRY_PAUSE)
        except TimeoutError as error:
            raise BusUnavailable(f"NATS did not make the consumer {step}: {last}") from error

    async def close(self) -> None:
        """Stop the consumers and disconnect. Can be called twice."""
        if self._closing:
            return
        self._closing = True
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        if self._recovery is not None:
            self._recovery.cancel()
        try:
            await self._nc.close()
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

    async def wait_up(self) -> None:
        """Wait until the server is connected and the work stream is there."""
        await self._up.wait()

    async def wait_down(self) -> None:
        """Wait until the server is away, or the bus closed."""
        await self._down.wait()

    async def ensure_stream(self) -> None:
        """Create the work stream if it is missing. Raises nats errors.

        An existing stream keeps what its operator has set, but for the replicas if they
        are a setting.
        """
        try:
            info = await self._js.stream_info(STREAM)
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
                info = await self._js.add_stream(config)
            log.info("work_stream_created", replicas=info.config.num_replicas)
        if self._replicas and info.config.num_replicas != self._replicas:
            with writing(Failpoint.STREAM_CREATE):
                info = await self._js.update_stream(info.config.evolve(num_replicas=self._replicas))
            log.info("work_stream_changed", replicas=self._replicas)
        self.incarnation = info.created

    async def _ensure_stream_or_log(self) -> None:
        try:
            await self.ensure_stream()
        except (NatsError, APIError) as error:
            log.info("work_stream_not_ready", cause=repr(error))

    async def _recover(self) -> None:
        """After (re)connecting: wait for JetStream, restore what it lost, go on."""
        while True:
            try:
                await self.ensure_stream()
                for consumer in self._consumers:
                    await consumer.bind()
            except (NatsError, OSError) as error:
                self._last_error = error
                # JetStream answers some time after the server takes connections.
                log.info("bus_recovery_retried", cause=repr(error))
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                self._mark(up=True)
                return

    async def _reach(self) -> None:
        """Raise TimeoutError soon while no server has been reached for long.

        A moment is waited out. In a long outage not every publish waits as long again.
        """
        if self._nc.is_connected or self._lost_at is None:
            return
        if asyncio.get_running_loop().time() - self._lost_at >= self._publish_timeout:
            async with asyncio.timeout(_LONG_OUTAGE_PATIENCE):
                await self._reached.wait()

    def _mark(self, *, up: bool) -> None:
        if not up:
            self._unstored_since = None
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
            self._recovery = asyncio.create_task(self._nc.close())
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
