"""A durable pull consumer of one step, shared by all replicas of a service."""

from __future__ import annotations

import asyncio
import json

import structlog
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig
from polybatch.v1.events_pb2 import WorkItem

from core.backoff import backoff
from core.bus.connection import Connection
from core.bus.delivery_metrics import Handling, measured
from core.bus.work import STREAM, TRACEPARENT, Ack, Delivery, Handler, Outcome, Snooze, Step
from core.failpoints import Failpoint, writing

log = structlog.get_logger()

_PULL_EXPIRES = 30.0
_PULL_HEARTBEAT = 5.0
# Without a heartbeat for so long, the server has forgotten the open pulls.
_SILENCE_LIMIT = 2.5 * _PULL_HEARTBEAT
_OPEN_PULLS = 2
_RETRY_PAUSE = 0.25
# A negative acknowledgement without a delay is redelivered at once, for ever.
_MIN_DELAY = 0.01
_HAND_BACK_DELAY = 0.1
_FAILURE_DELAY_CAP = 60.0


def failure_delay(count: int) -> float:
    """Seconds until an item whose handler raised comes back, by its delivery count."""
    return backoff(0.5, count, _FAILURE_DELAY_CAP, spread=True)


class _Session:
    """The pulls of one consumer between two reconnections.

    A slot that waits opens a pull of one message, and each pull ends with exactly one
    message or status, so it does not matter which slot takes which. Few are open at a
    time: the server serves pulls in the order in which they came, so a replica with many
    open ones would be given as many items in a row, and the others none.

    A session has an inbox of its own: what an earlier one left open on the server finds
    nobody there and is dropped, instead of being delivered to a slot that is busy.
    """

    def __init__(self, nc: Client, step: Step, incarnation: object) -> None:
        self.incarnation = incarnation
        self._nc = nc
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{step}"
        self._request = json.dumps(
            {
                "batch": 1,
                "expires": int(_PULL_EXPIRES * 1e9),
                "idle_heartbeat": int(_PULL_HEARTBEAT * 1e9),
            }
        ).encode()
        self._inbox = nc.new_inbox()
        self._items: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._gate = asyncio.Semaphore(_OPEN_PULLS)
        self._waiting = 0
        self._heard = asyncio.get_running_loop().time()
        self._subscription: Subscription | None = None
        self._over = False

    async def open(self) -> None:
        self._subscription = await self._nc.subscribe(self._inbox, cb=self._receive)

    async def next(self) -> Msg | None:
        """Pull one message; it may be a status. None: the session is over or silent."""
        async with self._gate:
            return None if self._over else await self._pull()

    async def _pull(self) -> Msg | None:
        loop = asyncio.get_running_loop()
        self._waiting += 1
        try:
            await self._nc.publish(self._subject, self._request, reply=self._inbox)
            self._heard = loop.time()
            while True:
                try:
                    async with asyncio.timeout_at(self._heard + _SILENCE_LIMIT):
                        return await self._items.get()
                except TimeoutError:
                    if loop.time() >= self._heard + _SILENCE_LIMIT:
                        return None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Close the inbox, let arrived messages be taken, and wake the waiting slots."""
        self._over = True
        try:
            if self._subscription is not None:
                if self._nc.is_connected:
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
                else:
                    await self._subscription.unsubscribe()
        except NatsError as error:
            log.debug("bus_inbox_close_failed", cause=repr(error))
        finally:
            for _ in range(self._waiting):
                self._items.put_nowait(None)

    async def _receive(self, msg: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if _status(msg) != "100":
            self._items.put_nowait(msg)


def _status(msg: Msg) -> str | None:
    return msg.headers.get("Status") if msg.headers else None


def _traceparent(msg: Msg) -> str:
    return msg.headers.get(TRACEPARENT, "") if msg.headers else ""


class Consumer:
    """Runs a handler for the items of a step. Made by Bus.consume."""

    def __init__(
        self,
        connection: Connection,
        step: Step,
        handler: Handler,
        *,
        concurrency: int,
        ack_wait: float,
        stop_grace: float,
    ) -> None:
        self._connection = connection
        self._step = step
        self._handler = handler
        self._concurrency = concurrency
        self._ack_wait = ack_wait
        self._stop_grace = stop_grace
        self._session: _Session | None = None
        self._binding = asyncio.Lock()
        self._slots: list[asyncio.Task[None]] = []
        self._parked: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()
        """Why pulls have failed since one was served: each slot meets it, four times a second."""
        self._stopping = False

    async def start(self) -> None:
        """Create the consumer if it is missing and begin to pull."""
        await self.bind()
        self._slots = [
            asyncio.create_task(self._run_slot(), name=f"{self._step}-{number}")
            for number in range(self._concurrency)
        ]

    async def bind(self) -> None:
        """Make sure that the consumer is there and start a new session on it.

        Raises nats errors.
        """
        async with self._binding:
            await self._bind()

    async def _rebind(self, broken: _Session) -> None:
        async with self._binding:
            if self._session is broken and not self._stopping:
                await self._connection.ensure_stream()
                await self._bind()

    async def _bind(self) -> None:
        config = ConsumerConfig(
            durable_name=self._step.value,
            filter_subject=self._step.subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_deliver=-1,
            # Items that wait for their delay count as pending acknowledgements.
            max_ack_pending=-1,
            max_waiting=4096,
        )
        with writing(Failpoint.CONSUMER_CREATE):
            await self._connection.js.add_consumer(STREAM, config)
        session = _Session(self._connection.nc, self._step, self._connection.incarnation)
        await session.open()
        old, self._session = self._session, session
        if old is not None:
            await old.close()

    async def stop(self) -> None:
        """Stop pulling, wait for running handlers, hand back what they did not finish.

        Handlers that still run after stop_grace seconds are cancelled; their items go
        to another replica. Can be called twice.
        """
        self._stopping = True
        async with self._binding:
            if self._session is not None:
                await self._session.close()
        for slot in self._parked:
            slot.cancel()
        if self._slots:
            _, running = await asyncio.wait(self._slots, timeout=self._stop_grace)
            for slot in running:
                slot.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _run_slot(self) -> None:
        while not self._stopping:
            try:
                await self._turn()
            except NatsError as error:
                self._tell(str(error) or repr(error))
                await asyncio.sleep(_RETRY_PAUSE)
            except Exception:
                log.exception("work_slot_failed", step=self._step)
                await asyncio.sleep(_RETRY_PAUSE)

    async def _turn(self) -> None:
        await self._park_until_up()
        session = self._session
        assert session is not None, "bound before the slots start"
        msg = await session.next()
        if msg is None:
            await self._rebind(session)
        elif (status := _status(msg)) is None:
            self._told.clear()
            await self._process(msg, session)
        elif status in ("404", "408"):
            self._told.clear()
        else:
            # 409: deleted, 503: not there; both after the store was lost.
            self._tell(f"status {status}")
            await asyncio.sleep(_RETRY_PAUSE)
            await self._rebind(session)

    def _tell(self, cause: str) -> None:
        if cause not in self._told:
            self._told.add(cause)
            log.info("work_pull_failed", step=self._step, cause=cause)

    async def _park_until_up(self) -> None:
        slot = asyncio.current_task()
        assert slot is not None
        self._parked.add(slot)
        try:
            await self._connection.wait_up()
        finally:
            self._parked.discard(slot)

    async def _process(self, msg: Msg, session: _Session) -> None:
        if self._stopping:
            await msg.nak(_HAND_BACK_DELAY)
            return
        try:
            item = WorkItem.FromString(msg.data)
        except DecodeError:
            log.error("work_item_malformed", step=self._step)
            await msg.term()
            return
        delivery = Delivery(msg.metadata.num_delivered, msg.metadata.timestamp)
        keeper = asyncio.create_task(self._keep(msg))
        try:
            with measured(self._step, item, delivery, _traceparent(msg)) as handling:
                outcome = await self._handle(item, delivery, handling)
        except asyncio.CancelledError:
            await msg.nak(_HAND_BACK_DELAY)
            raise
        finally:
            keeper.cancel()
        await self._conclude(msg, session, outcome)

    async def _handle(self, item: WorkItem, delivery: Delivery, handling: Handling) -> Outcome:
        try:
            handling.outcome = await self._handler(item, delivery)
            return handling.outcome
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Cancelled from within: a failure like any other, it must not end the slot.
            failure: BaseException = asyncio.CancelledError("raised by the handler")
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the slot goes on
            failure = error
        delay = failure_delay(delivery.count)
        log.error(
            "work_failed",
            step=self._step,
            batch_id=item.batch_id,
            shard_id=item.shard_id,
            deliveries=delivery.count,
            retry_in=round(delay, 2),
            exc_info=failure,
        )
        handling.failed = True
        handling.outcome = Snooze(delay)
        return handling.outcome

    async def _conclude(self, msg: Msg, session: _Session, outcome: Outcome) -> None:
        await self._connection.wait_up()
        if session.incarnation != self._connection.incarnation:
            # The store was lost meanwhile: this number now stands for another item.
            log.info("work_outcome_dropped", step=self._step)
        elif isinstance(outcome, Ack):
            with writing(Failpoint(f"bus.done.{self._step}")):
                await msg.ack()
        else:
            with writing(Failpoint.SNOOZE):
                await msg.nak(max(outcome.delay, _MIN_DELAY))

    async def _keep(self, msg: Msg) -> None:
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            try:
                await msg.in_progress()
            except NatsError as error:
                log.debug("work_heartbeat_failed", step=self._step, cause=repr(error))
