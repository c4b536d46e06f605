"""NATS: the work queue between the services, and the events for whoever listens.

Work, on JetStream, private to the dispatcher and the collector:

    stream    POLYBATCH_WORK     work-queue retention, file storage
    subject   polybatch.work.<step>    step: plan, submit, run, poll, fetch, assemble,
                                       stop
    consumer  <step>             durable pull consumer, shared by all replicas of a service
    payload   polybatch.v1.WorkItem (protobuf): batch_id, shard_id
    header    Nats-Msg-Id: <step>/<batch id>/<shard id>/<uuid>
    header    traceparent: of the batch's trace, if it is traced (W3C)

A work item only wakes somebody up: the ledger says what is to be done. It may come
twice, late or never, so a handler looks at the ledger first, and a sweep publishes again
what has waited too long. An item stays in the stream until a handler returns Ack;
Snooze(delay) brings it back after a delay. There is no limit on deliveries. The server
remembers a message id for two minutes, also past the acknowledgement: so each item has one
of its own, and one that is sent again because its confirmation was lost counts once.

Events, on core NATS, a public contract for internal services:

    subject   polybatch.events.<account id>.<batch id>
    payload   polybatch.v1.BatchEvent (protobuf, protos/polybatch/v1/events.proto)

One is published after every committed change of a batch. `polybatch.events.*.*` are all
of them, `polybatch.events.<account id>.*` those of one account. Nothing is stored: what
a subscriber misses it reads from the ledger or from StatusService, and `revision` tells
which of two events is the newer one. Bodies, keys and custom ids are never in an event.

Broadcasts, on core NATS, private to the dispatcher and the collector:

    subject   polybatch.told.<topic>     topic: holds (core/pipeline/holds.py)
    payload   JSON: names and times, nothing else

Nothing is stored: the ledger has it too, for those who missed it.

The embedded mode runs a nats-server as a child process: see core/bus/embedded.py.
"""

from core.bus.bus import Bus, EventSubscription
from core.bus.connection import public_url
from core.bus.consumer import Consumer
from core.bus.embedded import EmbeddedNats, ServerBinaryMissing
from core.bus.work import Ack, BusUnavailable, Delivery, Handler, Snooze, Step
