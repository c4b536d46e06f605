"""Batches as Anthropic's MessageBatch objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from anthropic.types.messages import MessageBatch
from polybatch.v1 import batches_pb2

from services.web.anthropic.objects import message_batch

ENDED = datetime(2026, 11, 1, tzinfo=UTC)
BASE = "http://127.0.0.1:8080/anthropic"


def shown(batch: batches_pb2.Batch) -> MessageBatch:
    batch.id = "batch_0mx3y735gcfigr3chd49"
    batch.state = batches_pb2.BATCH_STATE_COMPLETED
    for moment in (batch.created_at, batch.expires_at, batch.completed_at):
        moment.FromDatetime(ENDED)
    return MessageBatch.model_validate(message_batch(batch, BASE))


def test_results_that_are_there_have_an_address() -> None:
    found = shown(batches_pb2.Batch())
    assert found.archived_at is None
    assert found.results_url == f"{BASE}/v1/messages/batches/{found.id}/results"


@pytest.mark.parametrize("kept", [timedelta(hours=1), timedelta(days=30_000), None])
def test_a_batch_whose_results_are_deleted_is_archived(kept: timedelta | None) -> None:
    batch = batches_pb2.Batch(
        deleted_results=[batches_pb2.RESULTS_KIND_SUCCEEDED, batches_pb2.RESULTS_KIND_FAILED]
    )
    if kept is not None:
        batch.results_expire_at.FromDatetime(ENDED + kept)
    found = shown(batch)
    assert found.archived_at == (ENDED + kept if kept == timedelta(hours=1) else ENDED)
    assert found.results_url is None
