"""Every named write is died at, before or after it, and nothing is lost or paid twice.

Each scene brings about, on purpose, what leads to its writes, and goes on only when all of its
deaths have happened: what holds a batch there (a provider that fails, a batch that never ends) is
taken away then. A name in core/failpoints/points.py that is in no scene fails these tests: give
it a scene that surely comes to it. One side of each write is died at here; `make chaos` dies at
both, in hundreds of random schedules.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from polybatch import Batch, BatchState, Client, Conflict, Funding, NotFound, WebhookDeliveryState
from sqlmodel import col, update

from core.failpoints import Failpoint, Kill, Moment
from core.ledger import Batch as LedgerBatch
from core.ledger import Ledger, now
from core.settings import Settings
from services.gateway.keys import FIRST_ACCOUNT
from tests.chaos import hooks, jobs
from tests.chaos.cluster import Cluster, tell, wait_for
from tests.chaos.echo import Echo
from tests.chaos.jobs import Job
from tests.chaos.keys import administer, manage
from tests.chaos.schedule import CREATES, QUICK_KNOBS, SLOW_KNOBS, Fault, anyone, judge_bills
from tests.support.ledger.money import check_books, forget_costs
from tests.support.webhooks.verifying import receiving

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NEVER = 3600
"""Seconds that a provider's batch takes while its scene lasts."""
GRACE = "300"
"""Nobody gives a provider's batch up before it was asked to stop, however slow the machine."""
AWAY = [{"kind": "status", "status": 503}]
RELEASED = {"batch_seconds": 0, "call_seconds": 0, "faults": []}
SIDE = dict(zip(Failpoint, cycle(("before", "after")), strict=False))

UNANSWERED = frozenset({"ok", "batch_cancelled", "batch_expired", "result_missing"})

Meddle = Callable[[Cluster, Client, Batch], None]


def ask(*providers: str, ends: Iterable[BatchState] = jobs.DONE, **options: Any) -> Any:
    """Makes a batch of lines for these providers; one that is stopped may lack answers."""
    may = jobs.OK if set(ends) == jobs.DONE else UNANSWERED

    def make(name: str) -> Job:
        job = Job(name, options=options, ends=frozenset(ends))
        for provider in providers:
            job.ask(provider, may=may)
        return job

    return make


def deleted_at_once(name: str) -> Job:
    """Stopped by its owner, and deleted before its provider has given it back."""
    job = Job(name, ends=frozenset({BatchState.CANCELLED}), deletes=True)
    job.ask("slow", may=UNANSWERED)
    job.ask("slow", may=UNANSWERED)
    return job


def with_a_culprit(name: str) -> Job:
    """The provider names its first line as that for which it refuses them all."""
    job = Job(name)
    job.ask("slow", may=frozenset({jobs.CULPRIT}))
    job.ask("slow")
    job.ask("slow")
    return job


def more_than_fits(name: str) -> Job:
    """More prompt tokens than the slow provider takes at a time, under a limit of its own."""
    job = Job(name)
    for _ in range(6):
        job.ask("slow", "word " * 300, model=f"slow/gpt-4.1-{name}")
    return job


@dataclass(frozen=True)
class Scene:
    """What brings batches to some writes, and keeps them there until all are died at."""

    points: Sequence[Failpoint]
    make: Sequence[Callable[[str], Job]]
    quick: Mapping[str, Any] | None = None
    slow: Mapping[str, Any] | None = None
    faults: Sequence[Fault] = ()
    """Of both sandboxes."""
    meddle: Meddle | None = None
    """Done once the batch is made; for scenes of one batch."""
    after: Callable[[Cluster], None] | None = None
    """Done once its owner has done all with it, for scenes of one batch."""
    echo: float = 0.0
    uploads: bool = False
    early: int = 0
    """Calls that may come before a Retry-After is over: it died with who was told of it."""


def at_its_provider(client: Client, batch: Batch) -> None:
    wait_for(
        lambda: client.get_batch(batch.id).request_counts.submitted == 2,
        "the lines to be submitted",
    )


def cancel(cluster: Cluster, client: Client, batch: Batch) -> None:
    """Its owner stops it when all of it is at the provider."""
    at_its_provider(client, batch)
    # It has ended where the gateway dies behind its commit and is slow to come back.
    with suppress(Conflict):
        client.cancel_batch(batch.id)


def cancel_out_of_reach(cluster: Cluster, client: Client, batch: Batch) -> None:
    """Its owner stops it, and the provider, out of reach by then, runs it after its end."""
    at_its_provider(client, batch)
    tell(cluster.slow, "/sandbox/config", {"faults": AWAY})
    # As in `cancel`.
    with suppress(Conflict):
        client.cancel_batch(batch.id)
    client.wait(batch.id, timeout=jobs.PATIENCE)
    tell(cluster.slow, "/sandbox/config", {"batch_seconds": 0})


def come_back(cluster: Cluster) -> None:
    """The slow provider is within reach again."""
    tell(cluster.slow, "/sandbox/config", {"faults": []})


def cancel_and_let_run(cluster: Cluster, client: Client, batch: Batch) -> None:
    """The same, and it is back after the batch's end."""
    cancel_out_of_reach(cluster, client, batch)
    come_back(cluster)


def cancel_unclear(cluster: Cluster, client: Client, batch: Batch) -> None:
    """Its owner stops it while nobody knows whether it was created, and can ask after its end."""

    def unclear() -> bool:
        shards = client.get_batch(batch.id).shards
        return any(shard.state == "submitting" and shard.waiting_reason for shard in shards)

    wait_for(unclear, "a create without an answer")
    client.cancel_batch(batch.id)
    client.wait(batch.id, timeout=jobs.PATIENCE)
    come_back(cluster)


def stop_the_dispatcher(cluster: Cluster, client: Client, batch: Batch) -> None:
    """It is told to stop while it makes calls."""
    wait_for(lambda: bool(tell(cluster.slow, "/sandbox/bill")["calls"]["begun"]), "a call")
    for replica in cluster.replicas:
        if replica.service == "dispatcher":
            replica.restart()


def run_out_of_credits(cluster: Cluster, client: Client, batch: Batch) -> None:
    """Its account has to pay beforehand from now on, and is granted something late."""
    with cluster.client("operator-key") as operators:
        operators.accounts.update(FIRST_ACCOUNT, funding=Funding.PREPAID)

        def waits() -> bool:
            shards = client.get_batch(batch.id).shards
            return any(shard.waiting_reason.startswith("waits for credits") for shard in shards)

        wait_for(waits, "a shard that nobody pays for")
        operators.accounts.grant(FIRST_ACCOUNT, 1000)
        operators.accounts.update(FIRST_ACCOUNT, funding=Funding.METERED)


def pause_and_resume(cluster: Cluster, client: Client, batch: Batch) -> None:
    """Its owner pauses it, and then an operator its provider, while nothing is created there."""

    def held() -> bool:
        shards = client.get_batch(batch.id).shards
        return any(shard.waiting_reason.startswith("paused: ") for shard in shards)

    client.pause_batch(batch.id)
    wait_for(held, "a shard that is held")
    client.resume_batch(batch.id)
    with cluster.client("operator-key") as operators:
        operators.pause_provider("openai")
        wait_for(held, "a shard that is held again")
        operators.resume_provider("openai")


AT_START = (
    Failpoint.MIGRATE,
    Failpoint.KEY_FIRST,
    Failpoint.KEY_OPERATOR,
    Failpoint.KEY_FILE,
    Failpoint.STREAM_CREATE,
    Failpoint.CONSUMER_CREATE,
    Failpoint.PROVIDER_KEY,
)
"""What only a first start writes."""
BY_OPERATORS = (Failpoint.KEY_CREATE, Failpoint.KEY_REVOKE)
AFTER_AN_UPGRADE = (Failpoint.BATCH_PRICES, Failpoint.SHARD_BACKFILL)
"""What a collector writes that finds batches of before costs were kept."""
MANAGING = (
    Failpoint.ACCOUNT_CREATE,
    Failpoint.ACCOUNT_UPDATE,
    Failpoint.CREDITS_GRANT,
    Failpoint.KEY_UPDATE,
)
"""The same by calls."""
BY_OWNERS = (
    Failpoint.WEBHOOK_CREATE,
    Failpoint.WEBHOOK_UPDATE,
    Failpoint.WEBHOOK_ROTATE,
    Failpoint.WEBHOOK_TEST,
    Failpoint.WEBHOOK_DELETE,
)
DELIVERING = (
    Failpoint.WEBHOOK_CLAIM,
    Failpoint.WEBHOOK_CALL,
    Failpoint.WEBHOOK_FINISH,
    Failpoint.WEBHOOK_RESEND,
)
REMOVING = (
    Failpoint.BATCH_DELETE,
    Failpoint.BATCH_DELETE_RESULTS,
    Failpoint.BATCH_EXPIRE_RESULTS,
    Failpoint.BATCH_CLAIM_REMOVAL,
    Failpoint.BATCH_BLOBS_DELETE,
    Failpoint.BATCH_REMOVED,
)
"""What removes batches and results that have ended."""
LATER = (Failpoint.UPLOAD_CLAIM, Failpoint.UPLOAD_DISCARD, Failpoint.UPLOAD_FORGET)
"""What comes when an upload that was left half-way has been kept for long enough."""
ELSEWHERE = (
    Failpoint.SHARD_RESULTS_DELETE,
    Failpoint.SHARD_ABANDON,
    Failpoint.BATCH_RENEW,
)
"""Takes two collectors, of which one stands still (test_stalls.py); weeks, until a provider keeps
nothing any more (tests/unit/collector/test_late.py); or results that take longer to write than a
third of their lease (tests/integration/ledger/test_transitions.py)."""

STOPPED = (BatchState.CANCELLED,)
LATE = (BatchState.EXPIRED, BatchState.COMPLETED)
"""What is let go when the death has happened may be home before the window is closed again."""

SCENES = {
    "polls that fail": Scene(
        (Failpoint.SHARD_UNREACHABLE, Failpoint.SHARD_POSTPONE),
        [ask("gemini", "gemini")],
        faults=[{"kind": "status", "status": 500, "provider": "gemini", "path": "/batches/"}],
    ),
    "no room under the enqueued-token limit": Scene(
        (
            Failpoint.QUOTA_REFUSED,
            Failpoint.SPLIT_LINES,
            Failpoint.SHARD_QUOTA,
            Failpoint.SHARD_WAIT,
            # While it runs: a short batch may have ended before anybody asks.
            Failpoint.SHARD_POLLED,
        ),
        [more_than_fits],
        slow={"batch_seconds": NEVER},
    ),
    "a create whose answer is lost": Scene(
        (Failpoint.SHARD_OUTCOME_UNKNOWN,),
        [ask("openai", "openai")],
        faults=[{"kind": "reset_after", "method": "POST", "path": CREATES, "count": 1}],
    ),
    "an attempt that is never let go": Scene(
        # The first death leaves what is found overdue, and then taken back.
        (Failpoint.PROVIDER_UPLOAD, Failpoint.SHARD_OVERDUE, Failpoint.SHARD_REVERT),
        [ask("openai", "openai")],
    ),
    "a create that takes longer than its lease": Scene(
        (Failpoint.SHARD_RENEW,),
        [ask("openai", "openai")],
        faults=[{"kind": "slow", "method": "POST", "path": CREATES, "delay": 2.0}],
    ),
    "a create that is refused for now": Scene(
        (Failpoint.SHARD_REQUEUE,),
        [ask("openai", "openai")],
        faults=[{"kind": "status", "status": 429, "retry_after": 0.2, "path": CREATES, "count": 1}],
    ),
    "a provider that asks to wait": Scene(
        (Failpoint.PROVIDER_HOLD, Failpoint.BROADCAST),
        [ask("openai", "openai")],
        faults=[{"kind": "status", "status": 429, "retry_after": 0.3, "path": CREATES}],
        # Who starts anew tries three keys at once: of a death behind the first answer's hold,
        # what the other two were told may be lost.
        early=2,
    ),
    "an account without credits": Scene(
        (Failpoint.SHARD_WAIT_FOR_FUNDS,),
        [ask("openai", "openai")],
        # So it is tried again, and is not sent before it has to be paid for.
        faults=[{"kind": "status", "status": 429, "retry_after": 0.3, "path": CREATES}],
        meddle=run_out_of_credits,
    ),
    "pauses of a batch and a provider": Scene(
        (
            Failpoint.BATCH_PAUSE,
            Failpoint.BATCH_RESUME,
            Failpoint.SHARD_HOLD,
            Failpoint.PROVIDER_PAUSE,
            Failpoint.PROVIDER_RESUME,
        ),
        [ask("openai", "openai")],
        # So it is tried again, and is not sent before it is paused.
        faults=[{"kind": "status", "status": 429, "retry_after": 0.3, "path": CREATES}],
        meddle=pause_and_resume,
    ),
    "so many batches that they are looked at together": Scene(
        (Failpoint.SHARD_CLAIM_POLLS,),
        [jobs.many],
        slow={"batch_seconds": NEVER},
    ),
    "calls one by one": Scene(
        (
            Failpoint.RUN_START,
            Failpoint.RUN_CLAIM,
            Failpoint.RUN_RENEW,
            Failpoint.RUN_PROGRESS,
            Failpoint.RUN_END,
            Failpoint.RUN_LOG,
            Failpoint.PROVIDER_CALL,
            Failpoint.ENQUEUE_RUN,
            Failpoint.DONE_RUN,
        ),
        [ask(*["local"] * 40)],
        slow={"call_seconds": 1.0},
    ),
    "a dispatcher that is told to stop amid calls": Scene(
        (Failpoint.RUN_RELEASE,),
        [ask(*["local"] * 20)],
        slow={"call_seconds": 1.0},
        meddle=stop_the_dispatcher,
    ),
    "a batch that its owner stops": Scene(
        (
            Failpoint.BATCH_CANCEL,
            Failpoint.BATCH_SETTLE_QUEUED,
            Failpoint.BATCH_DEFER,
            Failpoint.PROVIDER_CANCEL,
            Failpoint.ENQUEUE_STOP,
            Failpoint.DONE_STOP,
        ),
        [ask("slow", "slow", ends=STOPPED)],
        slow={"batch_seconds": NEVER},
        meddle=cancel,
    ),
    "a window that closes": Scene(
        (Failpoint.BATCH_CLOSE_WINDOW,),
        [ask("slow", "slow", ends=LATE, completion_window=timedelta(seconds=3))],
        slow={"batch_seconds": NEVER},
    ),
    "a rescue before the window closes": Scene(
        (Failpoint.BATCH_RESCUE, Failpoint.SHARD_SWITCH),
        [
            ask(
                "slow",
                "slow",
                completion_window=timedelta(seconds=400),
                rescue_before=timedelta(seconds=397),
            )
        ],
        slow={"batch_seconds": NEVER},
    ),
    "a line for which all of a batch is refused": Scene(
        (Failpoint.BAD_LINES, Failpoint.BAD_RESULTS),
        [with_a_culprit],
        faults=[{"kind": "fail_batch", "code": jobs.CULPRIT, "line": 1, "count": 1}],
    ),
    "answers that are taken again": Scene(
        # The second batch of its kind takes what the first one lends.
        (Failpoint.PLAN_DIGESTS, Failpoint.PLAN_REUSED, Failpoint.BATCH_LENT),
        [jobs.repeated],
    ),
    "what failed is run once more": Scene(
        (Failpoint.BATCH_RETRY, Failpoint.RETRY_FILE),
        [jobs.retried],
    ),
    "results that are written twice": Scene(
        # Whoever dies at the first leaves what is found overdue, and results to be deleted.
        (Failpoint.BATCH_MANIFEST, Failpoint.BATCH_OVERDUE, Failpoint.BATCH_RESULTS_DELETE),
        [ask("gemini", "gemini")],
    ),
    "an upload that the provider does not delete": Scene(
        (Failpoint.INPUT_RETURN,),
        [ask("slow")],
        faults=[{"kind": "status", "status": 503, "method": "DELETE"}],
    ),
    "everything that every batch comes by": Scene(
        (
            Failpoint.UPLOAD_BEGIN,
            Failpoint.UPLOAD_END,
            Failpoint.UPLOAD_FINISH,
            Failpoint.UPLOAD_DATA,
            Failpoint.UPLOAD_INDEX,
            Failpoint.UPLOAD_REPORT,
            Failpoint.UPLOAD_TOTALS,
            Failpoint.FILE_TOTALS,
            Failpoint.UPLOAD_PROBLEMS,
            Failpoint.UPLOAD_SCRATCH,
            Failpoint.UPLOAD_SCRATCH_DELETE,
            Failpoint.UPLOAD_DELETE,
            Failpoint.FILE_DELETE,
            Failpoint.BATCH_CREATE,
            Failpoint.BATCH_PLAN,
            Failpoint.BATCH_FAIL,
            Failpoint.BATCH_FINALIZE,
            Failpoint.BATCH_END,
            Failpoint.SHARD_INTEND,
            Failpoint.SHARD_DISPATCHED,
            Failpoint.SHARD_SUBMITTED,
            Failpoint.SHARD_FETCHING,
            Failpoint.SHARD_FETCH_CLAIM,
            Failpoint.SHARD_REFETCH,
            Failpoint.SHARD_RESULTS_FOUND,
            Failpoint.SHARD_SETTLE,
            Failpoint.INPUT_TAKE,
            Failpoint.QUOTA_OBSERVE,
            Failpoint.PLAN_LINES,
            Failpoint.RETRY_LINES,
            Failpoint.SHARD_REJECTS,
            Failpoint.SHARD_DROPPED,
            Failpoint.SHARD_RESULTS,
            Failpoint.BATCH_RESULTS,
            Failpoint.BATCH_SHARDS_DELETE,
            Failpoint.ENQUEUE_PLAN,
            Failpoint.ENQUEUE_SUBMIT,
            Failpoint.ENQUEUE_POLL,
            Failpoint.ENQUEUE_FETCH,
            Failpoint.ENQUEUE_ASSEMBLE,
            Failpoint.DONE_PLAN,
            Failpoint.DONE_SUBMIT,
            Failpoint.DONE_POLL,
            Failpoint.DONE_FETCH,
            Failpoint.DONE_ASSEMBLE,
            Failpoint.SNOOZE,
            Failpoint.EVENT,
            Failpoint.PROVIDER_CREATE,
            Failpoint.PROVIDER_ASK,
            Failpoint.PROVIDER_DELETE,
            Failpoint.PROVIDER_DOWNLOAD,
        ),
        [jobs.mixed, jobs.lenient, jobs.choosy, jobs.broken, jobs.odd, jobs.ghost],
        echo=1.0,
        uploads=True,
    ),
}


AFTER_THE_END = {
    "answers that come late": Scene(
        (
            Failpoint.SHARD_GIVE_UP,
            Failpoint.BATCH_CLAIM_MERGE,
            Failpoint.LATE_RESULTS,
            Failpoint.LATE_MANIFEST,
            Failpoint.BATCH_MERGE,
        ),
        [ask("slow", "slow", ends=STOPPED)],
        slow={"batch_seconds": NEVER},
        meddle=cancel_and_let_run,
    ),
    "answers that come for a batch that is deleted": Scene(
        (Failpoint.BATCH_DROP_LATE,),
        [deleted_at_once],
        slow={"batch_seconds": NEVER},
        meddle=cancel_out_of_reach,
        after=come_back,
    ),
    "a create that turns out never to have happened": Scene(
        (Failpoint.SHARD_NEVER_SENT,),
        [ask("slow", "slow", ends=STOPPED)],
        faults=[
            {"kind": "reset_before", "method": "POST", "path": CREATES},
            {"kind": "status", "status": 503, "calls": ["list"]},
        ],
        meddle=cancel_unclear,
    ),
}
"""With hardly any patience for a provider once a batch is stopped."""


def kills(points: Iterable[Failpoint]) -> list[Kill]:
    """One death at each, of whichever service comes there first."""
    return [kill for point in points for kill in anyone("all", [point], [SIDE[point]])]


class Stage:
    """A cluster on which one scene follows another."""

    def __init__(self, cluster: Cluster, echo: Echo) -> None:
        self.cluster = cluster
        self.echo = echo

    def left(self, points: Iterable[Failpoint]) -> list[str]:
        """Of these, what nobody has died at yet."""
        return [
            f"{point} {SIDE[point]}"
            for point in points
            if not any(self.cluster.fired(kill) for kill in kills([point]))
        ]

    def seen(self, points: Iterable[Failpoint]) -> bool:
        """Whether somebody has died at each."""
        return not self.left(points)

    def await_deaths(self, points: Iterable[Failpoint]) -> None:
        """Wait until somebody has died at each, as long as one death follows another."""
        while left := self.left(points):
            try:
                wait_for(lambda before=left: self.left(points) != before, "a death")
            except AssertionError:
                raise AssertionError(f"nobody came to {left}") from None

    def play(self, name: str, scene: Scene, folder: Path) -> list[str]:
        """Run a scene to its end; returns what is wrong with it."""
        cluster = self.cluster
        options = (
            (cluster.quick, QUICK_KNOBS, scene.quick),
            (cluster.slow, SLOW_KNOBS, scene.slow),
        )
        for sandbox, usual, own in options:
            tell(sandbox, "/sandbox/reset", {})
            tell(sandbox, "/sandbox/config", {**usual, **(own or {}), "faults": [*scene.faults]})
        self.echo.share = scene.echo
        cluster.arm(kills([*scene.points, *LATER]))
        made = [make(f"{name}-{number}") for number, make in enumerate(scene.make)]
        complaints: list[str] = []
        with cluster.client() as client, ThreadPoolExecutor(len(made) + 1) as pool:
            if scene.meddle is not None:
                meddle = scene.meddle
                made[0].meddle = lambda client, batch: meddle(cluster, client, batch)

            def run(job: Job) -> None:
                job.run(client, folder)
                if scene.after is not None:
                    scene.after(cluster)

            running = [pool.submit(run, job) for job in made]
            if scene.uploads:
                enough = partial(self.seen, (Failpoint.UPLOAD_END,))
                running.append(pool.submit(jobs.uploads, client, f"{name}-uploads", enough))
            try:
                self.await_deaths(scene.points)
            finally:
                for sandbox in (cluster.quick, cluster.slow):
                    tell(sandbox, "/sandbox/config", RELEASED)
            for future in running:
                error = future.exception()
                if error is not None:
                    complaints.append(f"{type(error).__name__}: {error}")
        for job in made:
            complaints += job.complaints()
        deaths = len(scene.points) + len(LATER)
        return complaints + cluster.faults + judge_bills(cluster, made, deaths, scene.early)


@contextmanager
def opened(folder: Path, grace: str, points: Iterable[Failpoint] = ()) -> Iterator[Stage]:
    """Armed for some points before it starts; `grace`: how long a stop waits for a provider."""
    cluster = Cluster(folder / "cluster", settings={"POLYBATCH_STOP_GRACE": grace})
    cluster.arm(kills(points))
    cluster.start()
    echo = Echo(cluster.nats_url)
    echo.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "PATIENCE", 300.0)
        try:
            yield Stage(cluster, echo)
        finally:
            echo.stop()
            cluster.stop()
    assert not cluster.faults


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with opened(tmp_path_factory.mktemp("chaos"), GRACE, AT_START) as stage:
        yield stage


def test_every_write_has_its_scene() -> None:
    elsewhere = (
        *(AT_START, BY_OPERATORS, AFTER_AN_UPGRADE, MANAGING),
        *(BY_OWNERS, DELIVERING, REMOVING, LATER, ELSEWHERE),
    )
    named = Counter(point for points in elsewhere for point in points)
    for scene in (SCENES | AFTER_THE_END).values():
        named.update(scene.points)
    assert named == Counter(Failpoint)


def test_a_first_start(stage: Stage) -> None:
    stage.await_deaths(AT_START)
    stage.cluster.wait_ready()


# The last one leaves an upload half-way, which the test after it is about.
@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_lost_or_paid_twice_wherever_a_service_dies(
    stage: Stage, tmp_path: Path, name: str
) -> None:
    number = list(SCENES).index(name)
    assert not stage.play(f"scene{number}", SCENES[name], tmp_path)


def test_the_books_add_up(stage: Stage) -> None:
    asyncio.run(in_ledger(stage.cluster, partial(check_books, ended=True)))


def test_an_upload_that_was_left_half_way(stage: Stage) -> None:
    stage.await_deaths(LATER)


def test_keys_are_made_and_revoked(stage: Stage) -> None:
    stage.cluster.arm(kills(BY_OPERATORS))
    administer(stage.cluster, "operated")
    assert not stage.left(BY_OPERATORS)


def test_accounts_are_made_and_granted_once(stage: Stage) -> None:
    stage.cluster.arm(kills(MANAGING))
    manage(stage.cluster, "managed")
    assert not stage.left(MANAGING)


def test_old_batches_are_reckoned_once(stage: Stage, tmp_path: Path) -> None:
    cluster = stage.cluster
    job = ask("openai", "anthropic")("old")
    with cluster.client() as client:
        job.run(client, tmp_path)
    assert job.batch is not None
    asyncio.run(in_ledger(cluster, forget_costs))
    cluster.arm(kills(AFTER_AN_UPGRADE))
    for replica in cluster.replicas:
        if replica.service == "collector":
            replica.restart()
    stage.await_deaths(AFTER_AN_UPGRADE)

    def reckoned() -> bool:
        return not asyncio.run(in_ledger(cluster, lambda ledger: ledger.backfills.waiting("", 1)))

    wait_for(reckoned, "all old batches to be reckoned")
    asyncio.run(in_ledger(cluster, check_books))
    with cluster.client() as client:
        cost = client.get_batch(job.batch.id).cost
    # Prompts of a few tokens: no tier, no cache, so it is what the lines were charged.
    assert cost.so_far == sum(answer.cost or 0 for answer in job.answers) > 0


async def in_ledger(cluster: Cluster, do: Callable[[Ledger], Awaitable[Any]]) -> Any:
    """Beside the services."""
    settings = Settings(data_dir=cluster.data_dir)
    ledger = await Ledger.open(settings.effective_database_url)
    try:
        return await do(ledger)
    finally:
        await ledger.close()


def test_what_is_deleted_or_past_its_time_goes_whoever_dies(stage: Stage, tmp_path: Path) -> None:
    cluster = stage.cluster
    blobs = cluster.data_dir / "blobs"
    deaths = [anyone("gone", [point], [moment]) for point in REMOVING for moment in Moment]
    made = [ask("openai", "anthropic")(f"gone-{what}") for what in ("batch", "results", "old")]
    with cluster.client() as client:
        for job in made:
            job.run(client, tmp_path)
        deleted, emptied, old = [job.batch for job in made]
        assert deleted is not None
        assert emptied is not None
        assert old is not None
        cluster.arm([kill for death in deaths for kill in death])

        async def age(ledger: Ledger) -> None:
            past = now() - timedelta(seconds=1)
            async with ledger.batches._database.write(Failpoint.BATCH_DEFER) as session:
                await session.exec(
                    update(LedgerBatch)
                    .where(col(LedgerBatch.id) == old.id)
                    .values(results_expire_at=past, removal_due_at=past)
                )

        asyncio.run(in_ledger(cluster, age))
        with suppress(NotFound):
            # Whoever dies behind the commit has deleted it.
            client.delete_batch(deleted.id)
        client.delete_results(emptied.id)

        def gone() -> bool:
            left = [
                batch.id
                for batch in (deleted, emptied, old)
                if (blobs / "batches" / batch.id).exists()
            ]
            return not left and all(any(map(cluster.fired, death)) for death in deaths)

        wait_for(gone, "everything to be removed", 120)
        with pytest.raises(NotFound):
            client.get_batch(deleted.id)
        for batch in (emptied, old):
            with pytest.raises(Conflict) as refused:
                list(client.results(batch.id))
            assert refused.value.reason == "RESULTS_DELETED"
        wait_for(lambda: _missing(client, deleted.input_file_id), "the input to be removed")
        wait_for(lambda: _missing(client, old.input_file_id), "the old input to be removed")
        assert client.files.get(emptied.input_file_id).line_count == 2
    asyncio.run(in_ledger(cluster, check_books))
    assert not cluster.faults


def _missing(client: Client, file_id: str) -> bool:
    try:
        client.files.get(file_id)
    except NotFound:
        return True
    return False


def test_webhook_endpoints_are_managed(stage: Stage) -> None:
    with receiving() as receiver, stage.cluster.client() as client:
        for moment in Moment:
            stage.cluster.arm(anyone("owned", BY_OWNERS, [moment]))
            hooks.manage(client, receiver.url)
            for point in BY_OWNERS:
                assert any(map(stage.cluster.fired, anyone("owned", [point], [moment])))


def test_an_event_is_delivered_under_one_id_whoever_dies(stage: Stage, tmp_path: Path) -> None:
    """Before and after the end of its batch, its attempt, the call, and the note of its end."""
    cluster, points = stage.cluster, (Failpoint.BATCH_END, *DELIVERING)
    deaths = [anyone("told", [point], [moment]) for point in points for moment in Moment]
    with receiving() as receiver, cluster.client() as client:
        endpoint = hooks.create(client, receiver.url)
        assert endpoint.secret
        receiver.secret = endpoint.secret
        cluster.arm([kill for death in deaths for kill in death])
        job = ask("openai")("told")
        job.run(client, tmp_path)
        assert job.batch is not None

        def delivered() -> bool:
            (delivery,) = client.webhooks.deliveries(endpoint_id=endpoint.id)
            return delivery.state is WebhookDeliveryState.DELIVERED

        wait_for(delivered, "the delivery")
        # Whoever died after the call has left it to be made again.
        before = len(receiver.calls)
        assert before > 1
        (delivery,) = client.webhooks.deliveries(batch_id=job.batch.id)
        client.webhooks.resend(delivery.id)
        wait_for(lambda: len(receiver.calls) > before and delivered(), "what was sent again")
        client.webhooks.delete(endpoint.id)
    assert all(any(map(cluster.fired, death)) for death in deaths)
    assert {call for call, _ in receiver.calls} == {delivery.event_id}
    for _, event in receiver.calls:
        assert event == receiver.calls[0][1]
        assert (event["type"], event["data"]) == ("batch.completed", {"id": job.batch.id})
    assert not [*job.complaints(), *cluster.faults]


def test_nothing_is_lost_or_paid_twice_after_the_end_of_a_batch(tmp_path: Path) -> None:
    with opened(tmp_path, "1") as stage:
        stage.cluster.wait_ready()
        for number, (name, scene) in enumerate(AFTER_THE_END.items()):
            assert not stage.play(f"late{number}", scene, tmp_path), name
