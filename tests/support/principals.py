"""Calling a servicer's methods as somebody, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.serving import Principal
from core.serving.principal import calling


@contextmanager
def speaking_as(principal: Principal) -> Iterator[None]:
    """What is called in the block is called by this one."""
    before = calling.set(principal)
    try:
        yield
    finally:
        calling.reset(before)
