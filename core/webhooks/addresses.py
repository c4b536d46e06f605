"""Which IP addresses may be called, and a network backend that calls no others.

A name is looked up once for each call, every address that it has is checked, and the
connection is made to an address that was checked: what the name leads to a moment later does not
matter (DNS rebinding). TLS still asks for, and checks, the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpcore2

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_MAX_TRIED = 4
"""Addresses of one name that are tried in turn."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""RFC 8215: where they are is up to the network."""

_SPECIAL = (
    # Of IANA's registries too, and not in those of each Python that runs this. Some clouds have
    # their metadata in the first, and services for this machine alone at the last.
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("3fff::/20"),
    IPv4Network("168.63.129.16/32"),
)


class AddressNotAllowed(Exception):
    """A name leads to this machine or a private network. The message does not say to which
    address: whoever asks need not learn how the network is laid out."""


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet's, by IANA's special-purpose registries.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) is judged
    by that one.
    """
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            embedded = address.teredo[1]
        if address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address.is_site_local or address in _LOCAL_NAT64:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def is_own(address: Address) -> bool:
    """Whether an address is one of this machine's.

    A datagram socket that is connected sends nothing; the system says which address it would
    send from, and that is the target's own only where the target is this machine.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            # There is no way there, which the call itself will say.
            return False
        return ip_address(probe.getsockname()[0].partition("%")[0]) == address


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, in the order in which the system would try them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Gate(httpcore2.AsyncNetworkBackend):
    """Connects to public addresses, and to others only where `allow_private`."""

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Resolve = resolve,
        inner: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._inner = inner or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the backend's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a name that takes the connection.

        Raises AddressNotAllowed where one of them is not public, httpcore2.ConnectError.
        """
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("its name is not known") from error
        addresses = [ip_address(each) for each in found]
        if not self._allow_private and not all(
            is_public(each) and not is_own(each) for each in addresses
        ):
            raise AddressNotAllowed(
                "its name leads to this machine or a private network, which "
                "POLYBATCH_WEBHOOK_ALLOW_PRIVATE would allow"
            )
        failure: Exception = httpcore2.ConnectError("its name has no address")
        for address in addresses[:_MAX_TRIED]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
