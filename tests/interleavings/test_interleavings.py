"""A few hundred orders of the steps; `make interleavings` tries others for as long as wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interleavings.running import Runner
from tests.interleavings.shrinking import shrunk


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(tmp_path_factory.mktemp("interleavings")) as opened:
        yield opened


def test_no_order_breaks_a_promise(runner: Runner) -> None:
    for seed in range(40):
        run = runner.run(seed)
        assert not run.failures, f"{run}\n\n{shrunk(runner, run)}"


def test_a_run_is_a_function_of_its_seed_and_of_its_choices(runner: Runner) -> None:
    run = runner.run(1)
    assert runner.run(1) == run
    assert runner.run(1, run.choices).labels == run.labels
    assert runner.run(2).labels != run.labels
