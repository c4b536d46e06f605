"""Calls to a FakeProvider, of every kind that ProviderHttp makes."""

from __future__ import annotations

from pathlib import Path

from core.providers.contract import (
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
    always_open,
)
from core.providers.http.call_metrics import HeldBack
from core.providers.http.client import ProviderHttp
from core.providers.http.upload_tries import UploadTries

KINDS = {
    "read": ("GET", "/things/1"),
    "cancel": ("POST", "/things/1"),
    "delete": ("DELETE", "/things/1"),
    "upload": ("POST", "/files"),
    "resumable": ("POST", "/resumable"),
    "create": ("POST", "/things"),
    "download": ("GET", "/content"),
    "single call": ("POST", "/chat"),
}


async def make(http: ProviderHttp, kind: str, spool: Path) -> object:
    """One call of a kind; gives what came of it, errors too."""
    method, path = KINDS[kind]
    try:
        match kind:
            case "read" | "cancel" | "delete":
                return await http.call(method, path, bytes)
            case "upload":
                return await http.upload(path, {}, "x.jsonl", spool, bytes, UploadTries())
            case "resumable":
                return await http.upload_resumable(
                    path, b"{}", spool, "text/x", bytes, UploadTries()
                )
            case "create":
                return await create(http)
            case "download":
                return [chunk async for chunk in http.download(path)]
            case _:
                return await http.exchange(path, b"{}", {})
    except (ProviderUnavailable, HeldBack) as error:
        return error


async def create(
    http: ProviderHttp, content: bytes | Path = b"{}"
) -> bytes | Refused | OutcomeUnknown:
    return await http.create("/things", content, deadline=http.deadline(), gate=always_open)
