"""The costs are found again in what was measured, and docs/scaling.md shows the model's tables."""

from __future__ import annotations

import pytest

from benchmarks.scale.costs import UNITS, Calibration, Cost, Work, fitted, predicted
from benchmarks.scale.model import DAYS_LINES, MEASURED, Mix, need, sizes, stages
from tests.support.documentation.blocks import ROOT

_RUNS = (Work(24, 24, 240, 0.1), Work(6, 48, 96, 0.04), Work(6, 12, 42_000, 17), Work(6, 12, 7, 29))
_CHECKED = Work(10, 40, 20_000, 24)


def test_costs_are_found_again_in_what_runs_have_used() -> None:
    true = {name: Cost(0.05, 0.04 * place, 1e-5, 0.0) for place, name in enumerate(UNITS)}

    costs = fitted([(run, predicted(true, run)) for run in _RUNS])

    assert predicted(costs, _CHECKED) == pytest.approx(predicted(true, _CHECKED))


def test_no_cost_is_below_zero_where_what_was_measured_says_so() -> None:
    """A run that used less than its batches alone would: a machine that was quicker then."""
    noisy = [(run, dict.fromkeys(UNITS, run.batches - 0.2 * run.shards)) for run in _RUNS]

    assert min(predicted(fitted(noisy), Work(0, 1, 0, 0)).values()) >= 0


@pytest.mark.parametrize("lines_of_batch", [Mix().lines_of_batch, 100.0])
def test_the_page_shows_what_the_command_prints(lines_of_batch: float) -> None:
    calibration, mix = Calibration.read(MEASURED), Mix(lines_of_batch=lines_of_batch)
    page = (ROOT / "docs/scaling.md").read_text()

    assert sizes([need(lines, calibration, mix) for lines in DAYS_LINES]) in page
    assert stages(calibration, Mix()) in page
