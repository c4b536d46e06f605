"""A real S3-compatible server on loopback: versitygw, which `make s3-server` builds.

with running_object_storage() as server:
    os.environ.update(server.environment)
    url = server.create_bucket()
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.stores.process import (
    START_TIMEOUT,
    ServerMissing,
    ServerProcess,
    answers,
    free_port,
)

_HEALTH = "/health"
_ACCESS_KEY = "polybatch-test"
_SECRET_KEY = "polybatch-test-secret"
_INSTALL = (
    "versitygw, the S3-compatible server of the tests, is not built: "
    "install Go (https://go.dev/dl) and run `make s3-server`"
)


def server_program() -> Path:
    """versitygw in this virtual environment, else on the PATH. Raises ServerMissing."""
    own = Path(sys.prefix) / "bin" / "versitygw"
    found = str(own) if own.exists() else shutil.which("versitygw")
    if found is None:
        raise ServerMissing(_INSTALL)
    return Path(found)


class ObjectStorage:
    """One server with any number of buckets; its address stays the same over restarts.

    All methods block.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._buckets = folder / "buckets"
        self._numbers = itertools.count(1)
        attributes = folder / "attributes"
        self._buckets.mkdir()
        attributes.mkdir()
        self.process = ServerProcess(
            "versitygw",
            [
                str(server_program()),
                "--port",
                f"127.0.0.1:{self.port}",
                "--health",
                _HEALTH,
                "posix",
                # Next to the objects, for file systems without extended attributes.
                "--sidecar",
                str(attributes),
                str(self._buckets),
            ],
            f"127.0.0.1:{self.port}",
            folder / "versitygw.log",
            environment={
                "ROOT_ACCESS_KEY": _ACCESS_KEY,
                "ROOT_SECRET_KEY": _SECRET_KEY,
                "VGW_REGION": "us-east-1",
            },
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of AWS's tools, for whoever uses the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def create_bucket(self) -> str:
        """Make an empty bucket; returns its URL, as POLYBATCH_BLOBS_URL takes it."""
        name = f"bucket-{next(self._numbers)}"
        # The server takes each folder at the top for a bucket.
        (self._buckets / name).mkdir()
        return f"s3://{name}"

    def bucket_folder(self, name: str) -> Path:
        """Where the objects of a bucket lie, a file each."""
        return self._buckets / name

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        # What it prints comes before it listens.
        pause = threading.Event()
        deadline = time.monotonic() + START_TIMEOUT
        while not answers(f"{self.url}{_HEALTH}"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.url} did not answer within {START_TIMEOUT} s")
            pause.wait(0.01)

    def stop(self) -> None:
        """Stop it orderly."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()


@contextmanager
def running_object_storage() -> Iterator[ObjectStorage]:
    """A server in a folder of its own, gone at the end. Raises ServerMissing."""
    with tempfile.TemporaryDirectory(prefix="polybatch-s3-") as folder:
        server = ObjectStorage(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
