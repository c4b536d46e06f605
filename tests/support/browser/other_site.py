"""A site of somebody else: serves pages against the dashboard, and takes webhooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OtherSite:
    """On another host than the dashboard's, as far as browsers are concerned."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.calls: list[tuple[dict[str, str], bytes]] = []
        """Headers, in lower case, and body of each POST."""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = site.pages.get(self.path, "").encode()
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.calls.append((headers, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def base(self) -> str:
        """By a name, so that it is not the same site as the dashboard's 127.0.0.1."""
        return f"http://localhost:{self.server.server_port}"

    @property
    def hook(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"


@contextmanager
def running_other_site() -> Iterator[OtherSite]:
    """Served by threads of this process."""
    site = OtherSite()
    thread = threading.Thread(target=site.server.serve_forever, daemon=True)
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()
