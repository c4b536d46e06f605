"""What the services share."""

import sys


def _import_structlog() -> None:
    """Import it without rich, which is installed for the command: three megabytes of a service.

    structlog 26 takes rich for tracebacks on a terminal where it can be imported; logs here have
    plain ones.
    """
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        del sys.modules["rich"]


_import_structlog()
