"""How a service's process treats its memory: the C library's malloc, and Python's collector."""

from __future__ import annotations

import ctypes
import gc
import sys

# malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGEST_BUFFER = 4 * 1024 * 1024
_KEPT = 16 * 1024 * 1024

_FEWER_COLLECTIONS = 10_000
_OBJECTS_OF_MESSAGE = 20


def tune_memory() -> None:
    """To be called once, after the imports and before the first thread starts."""
    _tune_malloc()
    _tune_collector()


def _tune_malloc() -> None:
    """Keep freed memory for the next buffer, and all of it in one place.

    glibc gives each thread an arena of its own, and memory freed in one is of no use to
    another: with several threads that take turns at buffers of a megabyte, a service grows
    by 20 to 30 MB that nobody uses. And it hands freed buffers back to the kernel at once,
    which then clears them page by page for the next one: a sixth of an upload's time.
    Does nothing without glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_BUFFER)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)


def _tune_collector() -> None:
    """Look for cyclic garbage seldom, and never among what the imports made.

    That stays for ever; looking through it held up all calls for 0.1 s every few seconds
    while a thousand watchers were served, and the many small collections took a third of
    the collector service's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_FEWER_COLLECTIONS, *gc.get_threshold()[1:])


def expect_messages(calls: int) -> None:
    """Look for cyclic garbage no sooner than after a message to each of so many running calls.

    What thousands of watchers' updates consist of while they are written is no garbage. It made
    the collector look ever farther back: at each fortieth update or so through all that five
    thousand watches are, which held them up for 0.2 s.
    """
    objects = calls * _OBJECTS_OF_MESSAGE
    if objects > _FEWER_COLLECTIONS:
        gc.set_threshold(objects, *gc.get_threshold()[1:])
