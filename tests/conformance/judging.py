"""What several scenarios judge in the proxy's notes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from polybatch import Batch

from tests.conformance.calls import DOWNLOAD, STATUS, UPLOAD, WATCH
from tests.conformance.cell import Cell
from tests.conformance.signals import check


async def check_resumed(cell: Cell, batch: Batch) -> None:
    """See that each stream but the first went on where the service said, and that no byte was
    sent twice: all that went through is committed when a break of the proxy is told."""
    uploads = cell.proxy.of(UPLOAD)
    ids = {call.fields.get("upload_id") for call in uploads}
    check(len(ids) == 1 and None not in ids, f"the upload ids are {ids}")
    for call in uploads[1:]:
        asked = [
            status.committed
            for status in cell.proxy.of(STATUS)
            if status.ended is not None and status.ended <= call.began
        ]
        check(bool(asked), "an upload went on without GetUploadStatus")
        offset = call.fields["write_offset"]
        check(offset == asked[-1], f"write_offset {offset} where {asked[-1]} were committed")
        check(offset > 0, "an upload began again at 0")
    sent = sum(call.bytes_up for call in uploads)
    file = await cell.judge.files.get(batch.input_file_id)
    check(sent == file.bytes, f"{sent:,} bytes were sent of a file of {file.bytes:,}")


def check_watched_on(cell: Cell, *, dropped: bool = False) -> None:
    """See that each watch goes on from the newest snapshot that there was before it.

    `dropped`: the connection was, and with it perhaps the last snapshots that were sent.
    """
    # Where a watch ended well, a client may ask GetBatch whether that was the end.
    watched, asked = 0, 0
    sent: set[int] = set()
    for call in cell.proxy.of({*WATCH, "GetBatch"}):
        newest = max(call.revisions, default=0)
        if call.method in WATCH:
            last = call.fields["last_revision"]
            wanted = {watched, max(watched, asked)} | (sent if dropped else set())
            check(last in wanted, f"last_revision {last}; the revisions seen were {wanted}")
            watched = max(watched, newest)
            sent = set(call.revisions)
        asked = max(asked, newest)
    check(len(cell.proxy.of(WATCH)) > 1, "the batch was not watched again")


def gaps_after_refusals(cell: Cell) -> list[float]:
    """Seconds from each refusal by the proxy to the next call of the method."""
    gaps = []
    for methods in (UPLOAD, WATCH, DOWNLOAD):
        calls = cell.proxy.of(methods)
        for refused, again in pairwise(calls):
            if refused.ended is not None and "by the proxy" in refused.status:
                gaps.append(again.began - refused.ended)
    return gaps


def shown(seconds: Sequence[float]) -> str:
    """For people."""
    return ", ".join(f"{each:.3f}" for each in seconds)
