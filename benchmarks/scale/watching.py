"""Ten thousand watchers over two collectors: how long after a commit each has the change."""

from __future__ import annotations

from benchmarks.scale.compared import Compared
from benchmarks.scale.options import Options
from benchmarks.scale.setups import EMBEDDED, Replicas, Stands
from benchmarks.watchers import Stage, backbone_of, watched

TWO = Replicas(1, 1, 2)
MOST_MS = 500.0
_WATCHED = 100
_SHARDS = 8


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Milliseconds within which 99 of 100 updates came."""
    beside = await _run(stands, EMBEDDED, options)
    scaled = await _run(stands, TWO, options)
    return [
        Compared(name, str(TWO), measured, embedded, "ms", f"wanted: <= {MOST_MS:g}; {note}")
        for (name, measured, note), (_, embedded, _) in zip(scaled, beside, strict=True)
    ]


async def _run(
    stands: Stands, replicas: Replicas, options: Options
) -> list[tuple[str, float, str]]:
    figures = []
    # Those of one measurement may be on their way out when those of the next one come.
    settings = {"POLYBATCH_MAX_ACCOUNT_WATCHES": str(2 * options.watchers)}
    async with (
        stands.running(replicas, **settings) as setup,
        backbone_of(setup.suite, setup.environment.get("POLYBATCH_DATABASE_URL", "")) as runtime,
    ):
        stage = await Stage.prepare(setup.suite, runtime)
        one = [await stage.batch(_SHARDS)]
        many = [await stage.batch(1) for _ in range(_WATCHED)]
        for batches, change in ((one, stage.one), (many, stage.many)):
            name = f"{options.watchers:,} watchers of {len(batches)} batches"
            of_each = batches * (options.watchers // len(batches))
            figures += await watched(setup.suite, name, of_each, change)
    return [(figure.name, figure.measured, figure.basis) for figure in figures]
