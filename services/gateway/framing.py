"""Taking the messages of an upload's stream apart.

Protobuf's own parser takes twice as long over a chunk as one copy of it. A message that
holds a chunk and nothing else, which is all but the first, is a tag byte, a varint
length and the bytes (https://protobuf.dev/programming-guides/encoding/), and is cut
here. Every other message goes through the parser.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from polybatch.v1 import batches_pb2, conversion_pb2, files_pb2

from core.serving import ApiError

MAX_CHUNK_BYTES = 1 << 20

# Field 2, length-delimited: `chunk` of all these requests.
_CHUNK_TAG = 0x12
# Field 10, likewise: `part` of UploadFileRequest.
_PART_TAG = 0x52
# Field 11: `expires_after`.
_EXPIRES_TAG = 0x5A
_MAX_LENGTH_BYTES = 5

Request = TypeVar(
    "Request",
    files_pb2.UploadFileRequest,
    batches_pb2.SubmitBatchRequest,
    conversion_pb2.ConvertLinesRequest,
)


def parse_spec(message: bytes, kind: type[Request]) -> Request:
    """The first message of a stream, which has to hold a spec. Raises MALFORMED_STREAM."""
    request = _parse(message, kind)
    if request.WhichOneof("payload") != "spec":
        raise malformed("the first message of the stream has to hold the spec")
    return request


def parse_chunk(message: bytes | None, kind: type[Request]) -> bytes | None:
    """The chunk of a later message; None for the last one, which says that all is sent.

    A stream that ends without it (`message` None) was broken off: to a handler of
    grpc.aio a client that vanished looks like one that has closed its side. Raises
    UPLOAD_UNFINISHED, MALFORMED_STREAM.
    """
    if message is None:
        raise ApiError.aborted(
            "UPLOAD_UNFINISHED",
            "the stream ended without `finish`: ask GetUploadStatus, then resume",
        )
    chunk = _lone_chunk(message)
    if chunk is None:
        request = _parse(message, kind)
        if request.WhichOneof("payload") == "finish" and request.finish:
            return None
        if request.WhichOneof("payload") != "chunk":
            raise malformed("a message behind the first has to hold a chunk or finish")
        chunk = request.chunk
    if len(chunk) > MAX_CHUNK_BYTES:
        raise malformed(f"a chunk has {len(chunk)} bytes; at most {MAX_CHUNK_BYTES} are taken")
    return chunk


def parse_part(message: bytes | None) -> str | None:
    """The part that a message of UploadFile names in the place of a chunk; None: it names none."""
    if not message or message[0] != _PART_TAG:
        return None
    request = _parse(message, files_pb2.UploadFileRequest)
    return request.part if request.WhichOneof("payload") == "part" else None


def parse_expires(message: bytes | None) -> Duration | None:
    """The `expires_after` that a message of UploadFile has in the place of a chunk."""
    if not message or message[0] != _EXPIRES_TAG:
        return None
    request = _parse(message, files_pb2.UploadFileRequest)
    return request.expires_after if request.WhichOneof("payload") == "expires_after" else None


def malformed(message: str) -> ApiError:
    """The client breaks the rules of the stream."""
    return ApiError.invalid_argument("MALFORMED_STREAM", message)


def _parse(message: bytes, kind: type[Request]) -> Request:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise malformed(f"a message of the stream is no {kind.DESCRIPTOR.name}") from None


def _lone_chunk(message: bytes) -> bytes | None:
    if not message or message[0] != _CHUNK_TAG:
        return None
    length = 0
    for position, byte in enumerate(message[1 : 1 + _MAX_LENGTH_BYTES], start=1):
        length |= (byte & 0x7F) << (7 * (position - 1))
        if byte < 0x80:
            start = position + 1
            return message[start:] if start + length == len(message) else None
    return None
