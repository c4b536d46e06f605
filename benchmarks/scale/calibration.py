"""What a batch, a shard, a line and a megabyte cost in each service and store: measured by four
runs, each made twice, and checked against a fifth of another size and mix, made between them.

The costs go to build/scale-costs.json; `python -m benchmarks.scale.model` makes of them what an
installation of a size needs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from polybatch import AsyncClient

from benchmarks.figures import MeasurementFailed
from benchmarks.inputs import URL
from benchmarks.machine import facts
from benchmarks.scale.compared import Compared, columns
from benchmarks.scale.costs import SUMS, UNITS, Calibration, Usage, Work, fitted, predicted, ratios
from benchmarks.scale.jobs import check_bill, run_all
from benchmarks.scale.options import Options
from benchmarks.scale.setups import Replicas, Setup, Stands
from benchmarks.scale.usage import NOTHING, read

_ONE = Replicas(1, 1, 1)
COSTS = Path("build/scale-costs.json")
TOLERANCE = 0.2
# Those of OpenAI's that the sandbox knows; each is a shard of its own.
_OPENAI = ("gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-mini", "gpt-5.1")
_ANTHROPIC = "claude-4.6-sonnet"


@dataclass(frozen=True, slots=True)
class Run:
    """Batches of one size, sent at the same time."""

    name: str
    batches: int
    shards: int
    """Of each batch. One: of OpenAI's and Anthropic's by turns; more: one is Anthropic's, with
    half of the lines."""
    lines: int
    """Of each batch."""
    line_bytes: int

    @property
    def work(self) -> Work:
        """All of it."""
        lines = self.batches * self.lines
        shards = self.batches * self.shards
        return Work(self.batches, shards, lines, lines * self.line_bytes / 1e6)


_WARM = Run("warm-up", 6, 4, 100, 400)
# Several at a time in each: what runs beside others costs more than what runs alone.
RUNS = (
    Run("many small batches", 24, 1, 10, 400),
    Run("many shards", 6, 8, 16, 400),
    Run("many lines", 6, 2, 7_000, 400),
    Run("large lines", 6, 2, 1_200, 4_000),
)
CHECKED = Run("the check", 10, 4, 2_000, 1_200)
_IDLE_SECONDS = 8.0


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Print the costs, and what they predict of the last run beside what it used.

    Raises MeasurementFailed where that is more than a fifth away.
    """
    async with stands.running(_ONE, POLYBATCH_POLL_MIN_INTERVAL="5") as setup:
        meter = Meter(setup, options)
        await meter.run(_WARM)
        await meter.rest()
        learned = [await meter.run(run) for run in RUNS]
        work, used = await meter.run(CHECKED)
        # Twice, around it: so a machine that becomes slower meanwhile counts on both sides.
        learned += [await meter.run(run) for run in reversed(RUNS)]
    costs = fitted(learned)
    calibration = Calibration(
        facts(options.folder), f"{datetime.now(UTC):%Y-%m-%d}", costs, meter.idle
    )
    calibration.save(COSTS)
    print(f"\n{_cost_table(calibration)}\n\n{comparison(CHECKED, predicted(costs, work), used)}")
    print(f"\nWritten to {COSTS}.", flush=True)
    far = far_off(predicted(costs, work), used)
    if far:
        raise MeasurementFailed(f"more than {TOLERANCE:.0%} from the prediction: {', '.join(far)}")
    return []


class Meter:
    """Reads what a setup uses, run after run."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self.idle: Usage = NOTHING
        """Used in each second anyway."""
        self._setup = setup
        self._folder = options.folder

    async def rest(self) -> None:
        """Learn what is used while nothing is done."""
        before = await read(self._setup)
        await asyncio.sleep(_IDLE_SECONDS)
        after = await read(self._setup)
        seconds = after.moment - before.moment
        self.idle = {name: used / seconds for name, used in after.since(before, NOTHING).items()}

    async def run(self, run: Run) -> tuple[Work, Usage]:
        """Run it, and see that no line is lost or paid twice."""
        paths = [self._folder / f"calibration-{number}.jsonl" for number in range(run.batches)]
        for number, path in enumerate(paths):
            _write(path, run, number)
        billed = await asyncio.to_thread(lambda: self._setup.stands.lines_billed)
        before = await read(self._setup)
        async with self._setup.suite.client() as client:
            batches = await run_all(client, paths, run.lines)
            size = sum([await _result_bytes(client, each) for each in batches])
        after = await read(self._setup)
        await check_bill(self._setup, billed + run.batches * run.lines)
        for path in paths:
            path.unlink()
        return run.work, {**after.since(before, self.idle), "result bytes": float(size)}


async def _result_bytes(client: AsyncClient, batch_id: str) -> int:
    async with aclosing(client.result_chunks(batch_id)) as chunks:
        return sum([len(chunk) async for chunk in chunks])


def _write(path: Path, run: Run, number: int) -> None:
    models = [f"openai/{model}" for model in _OPENAI[: run.shards - 1]]
    anthropic = f"anthropic/{_ANTHROPIC}"
    if not models:
        models = [f"openai/{_OPENAI[0]}"] if number % 2 else [anthropic]
    else:
        # By turns with each of the others: half of the lines.
        models = [each for model in models for each in (model, anthropic)]
    with path.open("w", encoding="ascii") as out:
        for line in range(run.lines):
            out.write(_line(line + 1, models[line % len(models)], run.line_bytes))


def _line(number: int, model: str, size: int) -> str:
    def made(content: str) -> str:
        request = {
            "custom_id": f"request-{number:08d}",
            "method": "POST",
            "url": URL,
            "body": {"model": model, "messages": [{"role": "user", "content": content}]},
        }
        return json.dumps(request) + "\n"

    words = f"What is to be said of number {number}? " * (size // 20)
    return made(words[: size - len(made(""))])


def far_off(expected: Usage, used: Usage) -> list[str]:
    """What was predicted too badly."""
    return [
        f"{name} {ratio:.2f}"
        for name, ratio in ratios(expected, used).items()
        if abs(ratio - 1) > TOLERANCE
    ]


def comparison(run: Run, expected: Usage, used: Usage) -> str:
    """What was predicted of a run beside what it used."""
    rows: list[Sequence[str]] = [("of the check", "predicted", "measured", "ratio")]
    for name, unit in UNITS.items():
        ratio = f"{expected[name] / used[name]:.2f}" if used[name] else "-"
        shown = [f"{value:,.4g} {unit}".strip() for value in (expected[name], used[name])]
        rows.append((name, *shown, ratio))
    for name, parts in SUMS.items():
        if len(parts) > 1:
            both = [sum(side[each] for each in parts) for side in (expected, used)]
            shown = [f"{value:,.4g} CPU s" for value in both]
            rows.append((f"{name}, in all", *shown, f"{both[0] / both[1]:.2f}"))
    about = (
        f"{run.batches} batches of {run.shards} shards and {run.lines:,} lines of "
        f"{run.line_bytes:,} bytes:"
    )
    return f"{about}\n{columns(rows)}"


def _cost_table(calibration: Calibration) -> str:
    rows: list[Sequence[str]] = [
        ("cost", "a batch", "a shard", "a line", "a megabyte", "idle, a second")
    ]
    for name, cost in calibration.costs.items():
        scale, unit = (1e3, "ms") if UNITS[name] == "CPU s" else (1.0, UNITS[name])
        values = (cost.batch, cost.shard, cost.line, cost.megabyte, calibration.idle.get(name, 0.0))
        rows.append((name, *(f"{value * scale:,.4g} {unit}".strip() for value in values)))
    return columns(rows)
