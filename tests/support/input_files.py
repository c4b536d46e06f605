"""Lines, and the input files that a gateway would have made of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from core.batchfile import FileChecker, Rules
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.ledger import Batch, File
from core.providers import known_providers
from core.settings import ProviderAccess, Settings
from services.gateway.checks import upload_rules
from tests.support.ledger.rows import batch_row, file_row


def chat(number: int, model: str, **extra: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": f"q{number}"}], **extra}
    line = {
        "custom_id": f"c{number}",
        "provider": model.partition("/")[0],
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(line).encode()


async def store(
    blobs: BlobStore, lines: list[bytes], *, lenient: bool | None = None
) -> tuple[Batch, File]:
    """`lenient`: of the batch; None: the providers' checks at upload are left out."""
    file = file_row(id="file_1", upload_id="upload-1")
    contents = b"\n".join(lines) + b"\n"
    data = SegmentWriter(
        blobs, f"{file.prefix}/data", segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA
    )
    await data.write(contents)
    await data.close()
    known = known_providers(ProviderAccess(), Settings())
    checker = FileChecker(
        blobs,
        file.prefix,
        Rules(known.rules) if lenient is None else upload_rules(known),
        max_line_bytes=1 << 20,
        max_lines=10_000,
        segment_bytes=1 << 20,
    )
    await checker.feed(contents)
    checked = await checker.finish(await StoredFile.open(blobs, f"{file.prefix}/data"))
    assert lenient is not None or checked.invalid_count == 0, checked.problems
    file.groups = [msgspec.to_builtins(group) for group in checked.groups]
    batch = batch_row(
        file,
        id="batch_1",
        endpoint=checked.endpoint,
        total=len(lines),
        lenient_translation=bool(lenient),
    )
    return batch, file
