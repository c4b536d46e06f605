"""What the services do with NATS: publish, subscribe, consume."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import TypeAlias

import structlog
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import Header
from nats.js.errors import NoStreamResponseError
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.bus.connection import Connection
from core.bus.consumer import Consumer
from core.bus.work import STREAM, TRACEPARENT, BusUnavailable, Handler, Step
from core.failpoints import Failpoint, writing

log = structlog.get_logger()

EventSubscription: TypeAlias = Subscription

_RETRY_PAUSE = 0.1
_CLUSTER_REPLICAS = 3
_START_TIMEOUT = 30.0


class Bus:
    """One connection of one process to NATS. Made by `connect`, ended by `close`."""

    def __init__(self, connection: Connection, *, publish_timeout: float) -> None:
        self._connection = connection
        self._publish_timeout = publish_timeout
        self._consumers: list[Consumer] = []

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
        clustered = len(url.split(",")) >= _CLUSTER_REPLICAS
        connection = Connection(
            patience=publish_timeout,
            replicas=replicas,
            default_replicas=_CLUSTER_REPLICAS if clustered else 1,
        )
        await connection.open(url, name=name, timeout=connect_timeout)
        return cls(connection, publish_timeout=publish_timeout)

    @property
    def ready(self) -> bool:
        """Whether the server is connected and the work stream is there."""
        return self._connection.ready

    async def publish_work(
        self,
        step: Step,
        batch_id: str,
        shard_id: str = "",
        *,
        traceparent: str = "",
    ) -> None:
        """Put a work item into the queue; returns once the server has stored it.

        Each call puts in one item, however often it has to be sent until that is confirmed.
        `traceparent`: span context that the batch was made in, for its trace.

        Raises BusUnavailable when the server has not confirmed within publish_timeout
        seconds, or has been away for as long; it may have stored the item all the same.
        """
        message_id = f"{step}/{batch_id}/{shard_id}/{uuid.uuid4().hex}"
        payload = WorkItem(batch_id=batch_id, shard_id=shard_id).SerializeToString()
        try:
            await self._connection.reach()
            async with asyncio.timeout(self._publish_timeout):
                while True:
                    await self._connection.wait_up()
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
            with writing(Failpoint(f"bus.enqueue.{step}")):
                await self._connection.js.publish(
                    step.subject, payload, stream=STREAM, headers=headers
                )
        except NoStreamResponseError:
            await self._connection.ensure_stream_or_log()
            return False
        except NatsError as error:
            log.info("work_publish_retried", message_id=message_id, cause=str(error))
            if isinstance(error, NatsTimeout):
                await self._connection.look_at_silence()
            else:
                # Such as a limit that its operator has set: nothing is broken.
                self._connection.answered()
            return False
        self._connection.answered()
        return True

    async def publish_event(self, event: BatchEvent) -> bool:
        """Publish an event; False, and no error, if the server is away just now."""
        if self._connection.nc.is_connected:
            subject = f"polybatch.events.{event.account_id}.{event.batch_id}"
            try:
                with writing(Failpoint.EVENT):
                    await self._connection.nc.publish(subject, event.SerializeToString())
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

        subscription = await self._connection.nc.subscribe(
            f"polybatch.events.{account}.{batch}", cb=receive
        )
        if self._connection.nc.is_connected:
            # The server knows of the subscription once it has answered the flush.
            await self._connection.nc.flush()
        return subscription

    async def broadcast(self, topic: str, payload: bytes) -> bool:
        """Tell the other processes something; False, and no error, if the server is away."""
        if not self._connection.nc.is_connected:
            return False
        try:
            with writing(Failpoint.BROADCAST):
                await self._connection.nc.publish(f"polybatch.told.{topic}", payload)
        except NatsError as error:
            log.info("broadcast_dropped", topic=topic, cause=repr(error))
            return False
        return True

    async def listen(self, topic: str, callback: Callable[[bytes], None]) -> EventSubscription:
        """Call `callback` with what is broadcast under a topic from now on, by this process
        too; ends with `unsubscribe()`. What was told while disconnected is missed."""

        async def receive(msg: Msg) -> None:
            callback(msg.data)

        subscription = await self._connection.nc.subscribe(f"polybatch.told.{topic}", cb=receive)
        if self._connection.nc.is_connected:
            await self._connection.nc.flush()
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
            self._connection,
            step,
            handler,
            concurrency=concurrency,
            ack_wait=ack_wait,
            stop_grace=stop_grace,
        )
        await self._start(consumer, step)
        self._consumers.append(consumer)
        self._connection.on_recovery(consumer.bind)
        return consumer

    async def _start(self, consumer: Consumer, step: Step) -> None:
        last: Exception | None = None
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while True:
                    await self._connection.wait_up()
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
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        await self._connection.close()

    async def wait_up(self) -> None:
        """Wait until the server is connected and the work stream is there."""
        await self._connection.wait_up()

    async def wait_down(self) -> None:
        """Wait until the server is away, or the bus closed."""
        await self._connection.wait_down()
