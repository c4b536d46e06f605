"""Problems that are told before an upload has ended."""

from __future__ import annotations

from pathlib import Path

from core.batchfile import Problem, problems_so_far
from core.batchfile.problems_so_far import ProblemsSoFar
from core.blobs import BlobStore
from core.failpoints import Failpoint

PREFIX = "files/acct_1/upload-1"


async def test_they_are_written_where_there_are_more_and_once_a_second(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path.as_uri())
    seconds = [0.0]
    telling = ProblemsSoFar(store, PREFIX, clock=lambda: seconds[0])
    problems = [Problem(line, f"id-{line}", "method", "x", "is wrong") for line in (1, 2, 3)]

    async def told(count: int) -> int:
        await telling.tell(count, problems[:count])
        return (await problems_so_far(store, PREFIX)).count

    assert await told(0) == 0
    assert await store.list(PREFIX) == [], "nothing is written where nothing is wrong"
    assert await told(1) == 1
    assert await told(2) == 1, "too soon"
    seconds[0] = 1.0
    assert await told(2) == 2
    seconds[0] = 5.0
    await store.delete_prefix(PREFIX, point=Failpoint.UPLOAD_SCRATCH_DELETE)
    assert await told(2) == 0, "told already"
    assert await told(3) == 3
    assert (await problems_so_far(store, PREFIX)).first == problems
