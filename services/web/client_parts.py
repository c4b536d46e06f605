"""What the HTTP API takes of the Python client beside what that promises its users: the calls
themselves, with the client's repetitions and its downloads that go on where they broke.

It streams and passes on what comes, where `AsyncClient` reads files and gives models. Both are of
one release, so that these need not become public for it: they are named here, and no other module
of a service imports them (pyproject.toml).
"""

from __future__ import annotations

from polybatch._operations.calls import Caller
from polybatch._operations.conversions import Conversions
from polybatch._operations.downloads import Downloads, ResultStream
from polybatch._operations.upload_stream import FINISH, framed
from polybatch._transport import AioTransport, account_methods, methods
from polybatch._transport.methods import Method, Server

__all__ = [
    "FINISH",
    "AioTransport",
    "Caller",
    "Conversions",
    "Downloads",
    "Method",
    "ResultStream",
    "Server",
    "account_methods",
    "framed",
    "methods",
]
