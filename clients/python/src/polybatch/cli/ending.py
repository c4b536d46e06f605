"""Being told to end by others than the user: a shutdown, a terminal that is closed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
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
