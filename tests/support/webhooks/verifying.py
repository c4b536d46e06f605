"""A receiver of webhooks in a thread of its own, which verifies what other processes send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


class Receiver:
    """Verifies what comes, and keeps the id and the event of each call."""

    def __init__(self) -> None:
        self.secret = ""
        self.calls: list[tuple[str, Any]] = []
        self.last: tuple[bytes, dict[str, str]] = (b"", {})
        """Body and headers."""
        self.url = ""

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        """One call. Raises where its signature is wrong; before it has a secret it is deaf."""
        if not self.secret:
            return
        event = Webhook(self.secret).verify(body, headers)
        self.last = (body, headers)
        self.calls.append((headers["webhook-id"], event))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is its failures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
