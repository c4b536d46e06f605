"""Being told to end by others than the user, such as a shutdown; and to stop for a while."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP do in the block what Ctrl-C does, and end the process behind it.

    At once they would leave files behind that are half written. A second one does not wait.
    """
    told: list[int] = []
    # Not where somebody ignores them, as nohup does; and Windows has but one.
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    handled = [each for each in numbers if each and signal.getsignal(each) is signal.SIG_DFL]

    def stop(number: int, _frame: object) -> NoReturn:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        told.append(number)
        raise KeyboardInterrupt

    for each in handled:
        signal.signal(each, stop)
    try:
        yield
    finally:
        if told:
            signal.raise_signal(told[0])


@contextmanager
def suspended_in_order(suspend: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Ctrl-Z in the block calls `suspend`, with what stops the process until it is to go on."""
    number = getattr(signal, "SIGTSTP", None)
    # Not where there is no job control, and so nobody who would let it go on.
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    def stop() -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, on_signal)

    def on_signal(_number: int, _frame: object) -> None:
        suspend(stop)

    signal.signal(number, on_signal)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)
