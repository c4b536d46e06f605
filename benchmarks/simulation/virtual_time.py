"""An event loop whose clock jumps to the next timer, and the wall clock that goes with it.

Nothing waits for anything outside of the process, so a day takes as long as its computing, and
the same seed gives the same day.
"""

from __future__ import annotations

import asyncio
import logging
import random
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import patch

import structlog

from core.ledger.tables import columns

T = TypeVar("T")

MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)
"""When a simulated day begins."""


class Deadlock(RuntimeError):
    """Everything waits and no timer runs."""


class _Jumping(selectors.SelectSelector):
    """Where the loop would wait, it is asked how it goes on."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._idle(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is that of its timers, in seconds from 0; threads are called in place."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_Jumping(self.idle))

    def time(self) -> float:
        return self.moment

    def idle(self, timeout: float | None) -> None:
        """Everything waits, for so many seconds until the next timer; None: there is none.
        The clock is put forward."""
        if timeout is None:
            raise Deadlock
        self.moment += timeout

    def run_in_executor(  # type: ignore[override]
        self, _executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (it is the awaiting task's)
            done.set_exception(error)
        return done


@contextmanager
def simulated_day(seed: int, loop: VirtualLoop | None = None) -> Iterator[VirtualLoop]:
    """A loop under which the product's clocks, chances and tokens are made up as well."""
    chance, clock = random.Random(seed), loop or VirtualLoop()

    class Now(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return (MIDNIGHT + timedelta(seconds=clock.time())).astimezone(tz)

    with ExitStack() as stack:
        stack.callback(clock.close)
        # What is printed is the day as a whole.
        before = structlog.get_config()
        stack.callback(lambda: structlog.configure(**before))
        quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
        structlog.configure(wrapper_class=quiet)
        stack.enter_context(patch.object(columns, "datetime", Now))
        stack.enter_context(patch("core.ledger.ids.secrets.randbits", chance.getrandbits))
        stack.enter_context(
            patch("core.ledger.ids.time.time_ns", lambda: int(Now.now().timestamp() * 1e9))
        )
        state = random.getstate()
        stack.callback(random.setstate, state)
        random.seed(seed)
        yield clock
