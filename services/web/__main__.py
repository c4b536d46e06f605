"""`python -m services.web`: run the HTTP API."""

from __future__ import annotations

import sys

from core.serving import run
from core.settings import read_settings
from services.web.service import serve


def main() -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    settings, _ = read_settings()
    return run(
        lambda stop: serve(settings, stop),
        service="web",
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


if __name__ == "__main__":
    sys.exit(main())
