"""The services: each is a program, `python -m services.<name>`."""

# Before anything imports structlog: see there.
import core as _core  # noqa: F401
