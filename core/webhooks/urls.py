"""Which urls a webhook may have: what can be said of one without looking its name up."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address
from urllib.parse import urlsplit

from core.webhooks.addresses import is_public

MAX_URL = 2048
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_MAX_HOST = 253
_PRIVATE = "an address of the public Internet, not of this machine or a private network"


def wrong_url(url: str, *, allow_private: bool) -> str | None:
    """What was expected in the place of a url that cannot be called; None for one that can be.

    `allow_private`: whether it may be plain http://, and lead to this machine or a private network.
    """
    if len(url) > MAX_URL:
        return f"a url of at most {MAX_URL:,} characters, not {len(url):,}"
    if not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        return "a url of printable ASCII characters; others percent-encoded, or xn--... in its host"
    schemes = ("https", "http") if allow_private else ("https",)
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in schemes or not separator:
        return f"a url that begins with {' or '.join(f'{each}://' for each in schemes)}"
    if "#" in rest:
        return "a url without a fragment (#...), which no server would see"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        return f"a url whose host and port can be read ({error})"
    if "@" in parts.netloc:
        return "a url without a user name and password; the signature says who calls"
    if port == 0:
        return "a port from 1 to 65535"
    return _wrong_host(host, bracketed="[" in parts.netloc, allow_private=allow_private)


def _wrong_host(host: str, *, bracketed: bool, allow_private: bool) -> str | None:
    try:
        address = ip_address(host)
    except ValueError:
        if bracketed or not _is_name(host):
            return "the host's name or address, such as https://example.com/webhooks"
        local = host.lower().rstrip(".")
        if not allow_private and (local == "localhost" or local.endswith((".localhost", ".local"))):
            return _PRIVATE
        return None
    if bracketed == isinstance(address, IPv4Address) or "%" in host:
        return "the host's name or address, such as https://example.com/webhooks"
    return None if allow_private or is_public(address) else _PRIVATE


def _is_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    # Such as 127.1 or 0x7f000001: resolvers take it for an IPv4 address in an old form.
    numeric = re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1], re.IGNORECASE)
    return len(host) <= _MAX_HOST and not numeric and all(map(_LABEL.fullmatch, labels))
