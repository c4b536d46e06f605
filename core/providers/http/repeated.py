"""Calls that ask for what may have been done already: a cancel, a deletion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container

from core.providers.contract import ProviderRejected, RemoteBatch, RemoteState
from core.providers.http.client import ProviderHttp


async def cancel(http: ProviderHttp, path: str, poll: Callable[[], Awaitable[RemoteBatch]]) -> None:
    """POST a cancel. No error where the batch has ended, or is ending, already.

    Raises ProviderUnavailable, ProviderRejected.
    """
    try:
        await http.call("POST", path, bytes)
    except ProviderRejected:
        if (await poll()).state is RemoteState.RUNNING:
            raise


async def delete(http: ProviderHttp, path: str, gone: Container[int]) -> None:
    """DELETE something. No error where it is `gone`, by the status of the answer.

    Raises ProviderUnavailable, ProviderRejected.
    """
    try:
        await http.call("DELETE", path, bytes)
    except ProviderRejected as error:
        if error.status not in gone:
            raise
