"""Where the client has found us, which a proxy in front may have changed."""

from __future__ import annotations

from starlette.requests import Request


def is_secure(request: Request) -> bool:
    """Whether the client speaks TLS: to this server, or to one in front that says so."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    return "https" in (request.url.scheme, forwarded)


def base_url(request: Request) -> str:
    """Scheme and host, without a slash behind: the SDKs send their key to what begins with it."""
    scheme = "https" if is_secure(request) else request.url.scheme
    return str(request.base_url.replace(scheme=scheme)).rstrip("/")
