"""Making a batch once, whatever is lost on the way: it costs money.

In: what is asked for, and perhaps the caller's own key for it. Out: the batch. What can go wrong:
what the gateway refuses; no answer, of which a caller without a key is told not to ask again
blindly: the vendors' SDKs would, under no name, and make a second batch.
"""

from __future__ import annotations

import secrets

from polybatch.errors import PolybatchError
from polybatch.v1 import batches_pb2
from starlette.requests import Request

from services.web.client_parts import methods
from services.web.errors import HttpError, from_engine
from services.web.upstream import Engine

# No answer, or one that leaves open how far it came.
_UNKNOWN = frozenset({"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"})
# A restart of the gateway is waited out here, where the call has a name.
_PATIENCE = 30.0
# Of the 128 that a request id may have, without what is put before it.
_MOST_KEY_BYTES = 123


async def create_batch(
    request: Request, engine: Engine, asked: batches_pb2.CreateBatchRequest
) -> batches_pb2.Batch:
    """The batch, made now or by an earlier call with the same Idempotency-Key.

    `asked`: its request id is filled in. Raises PolybatchError, HttpError (400, 503).
    """
    key = request.headers.get("idempotency-key", "")
    if len(key.encode()) > _MOST_KEY_BYTES:
        raise HttpError(
            400,
            f"The Idempotency-Key has to have at most {_MOST_KEY_BYTES} bytes.",
            "invalid_value",
            "Idempotency-Key",
        )
    # The engine's calls are repeated: without a name each of them would make a batch.
    asked.request_id = f"http:{key}" if key else f"call:{secrets.token_urlsafe(18)}"
    try:
        batch: batches_pb2.Batch = await engine.call(
            methods.CREATE_BATCH, asked, patience=_PATIENCE
        )
    except PolybatchError as error:
        if key or error.code not in _UNKNOWN:
            raise
        raise HttpError(
            from_engine(error).status,
            "The service did not answer, so it is not known whether the batch was made: look for "
            "it in the list of batches before you ask again. With an Idempotency-Key you may ask "
            "again at once, and get the same batch.",
            "outcome_unknown",
            retry=False,
        ) from error
    return batch
