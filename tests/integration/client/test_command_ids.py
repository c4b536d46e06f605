"""Ids of the command that name nothing: what a variable that is not set leaves of one."""

from __future__ import annotations

import sys

import pytest
from polybatch.cli import ExitCode

from tests.support.client.batches import snapshot
from tests.support.client.command import Command
from tests.support.client.fake_service import FakePolybatch

BATCH = f"batch_{0:020}"
SELF = f"{sys.executable} -m polybatch"

NAMED = {
    "list": (("cancel",), ("delete",), ("delete", "--results"), ("pause",), ("get",)),
    "files list": (("files", "delete"), ("files", "get"), ("files", "download")),
    "webhooks list": (("webhooks", "delete"), ("webhooks", "update", "--disable")),
    "webhooks deliveries": (("webhooks", "resend"),),
}


@pytest.mark.parametrize("listing", NAMED)
def test_an_empty_id_is_not_the_only_one_there_is(
    command: Command, fake: FakePolybatch, listing: str
) -> None:
    fake.publish(snapshot(BATCH, 3, "COMPLETED", succeeded=100))
    for words in NAMED[listing]:
        for empty in ("", " \n"):
            done = command.run(*words, empty)
            assert done.returncode == ExitCode.BAD_INPUT, words
            assert f"the ID is empty ({empty!r}): name a " in done.stderr
            assert f"`{SELF} {listing}` shows the " in done.stderr
    assert not fake.calls


def test_what_all_ids_begin_with_is_empty_too(command: Command, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    done = command.run("cancel", "batch_")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "the ID is empty ('batch_')" in done.stderr
    done = command.run("webhooks", "deliveries", "--batch", "")
    assert done.returncode == ExitCode.BAD_INPUT
    assert not fake.calls
