"""Services that are away: told once when one is, and once when it is back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from polybatch.errors import Unavailable


class Absences:
    """What is known of absent services; `tell` is given each line for the user."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._failures: Counter[str] = Counter()
        self._told: set[str] = set()

    def note(
        self, error: Unavailable, wait: float, replicas: int, give_up_after: float | None
    ) -> None:
        """An attempt has failed; the next one comes in `wait` seconds.

        With several replicas one absence is nothing to tell: the next attempt goes to
        another one.
        """
        server = error.server
        if not wait or server in self._told:
            return
        self._failures[server] += 1
        if self._failures[server] < replicas:
            return
        self._told.add(server)
        limit = "for as long as it takes" if give_up_after is None else f"up to {give_up_after:g} s"
        self._tell(
            f"waiting for the {server} at {error.address} ({_cause(error)}); {limit}, Ctrl-C stops"
        )

    def back(self, server: str) -> None:
        """The service answers again."""
        self._failures.pop(server, None)
        if server in self._told:
            self._told.discard(server)
            self._tell(f"the {server} is back; going on")


def _cause(error: Unavailable) -> str:
    cause = error.cause.rstrip(".")
    # Most causes are gRPC's and begin like a sentence; names and codes stay as they are.
    if cause[1:2].islower():
        cause = cause[0].lower() + cause[1:]
    if error.never_reached and cause.lower() == "connection refused":
        return f"{cause}: nothing listens there, `make up` starts polybatch"
    return cause
