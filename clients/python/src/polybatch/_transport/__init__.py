"""gRPC, blocking and asyncio, behind one contract."""

from polybatch._transport.aio import AioTransport
from polybatch._transport.blocking import BlockingTransport
from polybatch._transport.contract import ReplyStream, Transport, UploadStream
from polybatch._transport.driving import iterate, run

__all__ = [
    "AioTransport",
    "BlockingTransport",
    "ReplyStream",
    "Transport",
    "UploadStream",
    "iterate",
    "run",
]
