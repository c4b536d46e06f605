"""Addresses to listen on: their ports chosen, or checked before anything is started."""

from __future__ import annotations

import contextlib
import errno
import socket

from core.serving import StartupError


def split(listen: str, setting: str) -> tuple[str, int]:
    """Take "host:port" apart. Raises StartupError, naming the setting."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise StartupError(f"{setting} is {listen!r}: host:port was expected")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join(host: str, port: int) -> str:
    """The reverse of split."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local(host: str) -> str:
    """Where a process of this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on at this moment; all different."""
    with contextlib.ExitStack() as stack:
        # All are held until the last one is chosen, so that none is given twice.
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in held]


def is_free(host: str, port: int) -> bool:
    """Whether the port can be listened on. Raises OSError for other troubles than that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def require_free(host: str, port: int, setting: str) -> None:
    """Raises StartupError, naming port and setting, if the address cannot be listened on."""
    try:
        free = is_free(host, port)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {join(host, port)} ({setting}): {error.strerror or error}"
        ) from error
    if not free:
        raise StartupError(
            f"port {port} is taken ({setting}={join(host, port)}): stop the program that "
            f"uses it, set {setting} to another address, move all ports with "
            "POLYBATCH_PORT_BASE, or let free ones be chosen: make up PORTS=auto"
        )
