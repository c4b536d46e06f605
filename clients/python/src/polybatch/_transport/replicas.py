"""The replicas of one server, and which of them takes the next call."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from polybatch.errors import PolybatchError, Unavailable

if TYPE_CHECKING:
    from polybatch._transport.translate import FailedCall

C = TypeVar("C")

_FIRST_REST = 1.0
_LONGEST_REST = 10.0


@dataclass(slots=True, eq=False)
class _Replica(Generic[C]):
    address: str
    channel: C
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0


def client_closed() -> PolybatchError:
    """The error of a call of a client that is closed, or was closed meanwhile."""
    error = PolybatchError(
        "the client is closed",
        reason="CLIENT_CLOSED",
        code="CANCELLED",
        next_step="make a new one, and close it after its last call.",
    )
    error.given_up = True
    return error


class Replicas(Generic[C]):
    """Gives calls to the replicas by turns; may be shared by threads.

    One that was away is left alone for a moment, longer each time, as long as another
    one can be asked: so the repetition of a call goes elsewhere. Each channel takes care
    of its own connection, and of the several machines behind one name.
    """

    def __init__(
        self,
        server: str,
        addresses: Sequence[str],
        connect: Callable[[str], C],
        *,
        clock: Callable[[], float] = time.monotonic,
        first: int | None = None,
    ) -> None:
        """`server`: "gateway" or "collector". `first`: index of the one that takes the first
        call; a random one if not given, as many clients make one call each."""
        self.server = server
        self.closed = False
        """Whether the client has closed its channels: a call fails of that, whatever gRPC says."""
        self._replicas = [_Replica(address, connect(address)) for address in addresses]
        self._clock = clock
        self._next = random.randrange(len(addresses)) if first is None else first
        self._lock = threading.Lock()

    def turn(self) -> Turn[C]:
        """The replica for one call: the next one that does not rest.

        Where all rest, the one that has to rest least. Raises PolybatchError once closed.
        """
        if self.closed:
            raise client_closed()
        with self._lock:
            count = len(self._replicas)
            order = [(self._next + step) % count for step in range(count)]
            now = self._clock()
            chosen = min(order, key=lambda at: max(self._replicas[at].rests_until, now))
            self._next = (chosen + 1) % count
            return Turn(self, self._replicas[chosen])

    def channels(self) -> Iterable[C]:
        """All channels."""
        return [replica.channel for replica in self._replicas]

    def note(self, replica: _Replica[C], *, away: bool) -> None:
        """Take in how a call to a replica went."""
        with self._lock:
            now = self._clock()
            if not away:
                replica.failures, replica.rests_until = 0, 0.0
            elif replica.rests_until <= now:
                # Calls that were under way together fail together: that is one failure.
                rest = min(_LONGEST_REST, _FIRST_REST * 2.0 ** min(replica.failures, 10))
                replica.failures += 1
                replica.rests_until = now + rest


class Turn(Generic[C]):
    """One call's replica. What comes of the call says how the replica does."""

    def __init__(self, replicas: Replicas[C], replica: _Replica[C]) -> None:
        self._replicas = replicas
        self._replica = replica
        self.channel = replica.channel
        self.address = replica.address

    @property
    def closed(self) -> bool:
        """Whether the client was closed meanwhile."""
        return self._replicas.closed

    def answered(self) -> None:
        """The replica is there."""
        self._replicas.note(self._replica, away=False)

    def failed(self, call: FailedCall) -> PolybatchError:
        """The call ended with an error; returns the exception for it."""
        if self.closed:
            return client_closed()
        # Most programs see no call fail.
        from polybatch._transport.translate import translate

        self._replicas.note(self._replica, away=call.code().name == "UNAVAILABLE")
        return translate(call, self._replicas.server, self.address)

    def ended_early(self, what: str) -> PolybatchError:
        """A stream of replies ended well, but too soon; returns the exception for it."""
        message = f"{what} ended before its time"
        return Unavailable(
            f"{self._replicas.server} at {self.address}: {message}",
            reason="STREAM_ENDED",
            code="UNAVAILABLE",
            server=self._replicas.server,
            address=self.address,
            cause=message,
        )
