"""Logs on a disk that is full: nobody but who reads them is the worse for it."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import subprocess
import sys
from typing import Any

import pytest

from core.serving.log_stream import LogStream
from services.supervisor.output import Output

LOGGING = """
import logging, structlog
from core.serving.logs import configure_logging
configure_logging("gateway")
structlog.get_logger().info("batch_created")
logging.getLogger("grpc").error("odd")
print("went on", flush=True)
"""


class Disk(io.RawIOBase):
    """A file on a disk that may be full."""

    def __init__(self) -> None:
        self.full = False
        self.contents = b""
        self.refused = asyncio.Event()

    def writable(self) -> bool:
        return True

    def write(self, contents: Any) -> int:
        if self.full:
            self.refused.set()
            raise OSError(errno.ENOSPC, "no space left on device")
        self.contents += bytes(contents)
        return len(contents)


def test_what_finds_no_room_is_left_out_and_said_later() -> None:
    disk = Disk()
    stream = LogStream(io.BufferedWriter(disk, 64), lambda lines: b"%d are missing\n" % lines)
    stream.write(b"one\n")
    disk.full = True
    for number in range(40):
        stream.write(b"lost %d\n" % number)
    stream.write(b"lost\nlost\n", 2)
    disk.full = False
    stream.write(b"two\n")
    stream.write(b"three\n")
    # The first that found no room was in the buffer.
    assert disk.contents == b"one\nlost 0\n42 are missing\ntwo\nthree\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_service_goes_on_when_its_log_cannot_be_written() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", LOGGING], stdout=subprocess.PIPE, stderr=full, timeout=60
        )
    assert ended.stdout == b"went on\n"
    assert ended.returncode == 0


async def test_the_supervisor_takes_the_lines_of_its_children_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()
    disk.full = True
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(disk)))
    output = Output(None, name_width=7, named=True)
    stream = asyncio.StreamReader()
    relaying = asyncio.create_task(output.relay("gateway", stream))
    stream.feed_data(b"one\ntwo\n")
    await asyncio.wait_for(disk.refused.wait(), 20)
    disk.full = False
    stream.feed_data(b"three\n")
    stream.feed_eof()
    await asyncio.wait_for(relaying, 20)
    assert disk.contents.endswith(b"gateway | three\n")
    assert b"2 log lines are missing here" in disk.contents
