"""The least that a client has to send for its upload to stay open."""

from __future__ import annotations

from core.serving import ApiError


class MinimumThroughput:
    """Ends an upload that trickles: each message comes in time, but the file never.

    Counts only the time that is spent waiting for the client, so that a slow store of
    ours costs no upload.
    """

    def __init__(self, bytes_per_second: float, *, window: float) -> None:
        """`window`: seconds of waiting over which the pace is taken; a pace of 0: any."""
        self._least = bytes_per_second
        self._window = window
        self._waited = 0.0
        self._bytes = 0

    def add(self, waited: float, size: int) -> None:
        """Count a chunk and the seconds it was waited for. Raises UPLOAD_TOO_SLOW."""
        self._waited += waited
        self._bytes += size
        if self._waited < self._window:
            return
        if self._bytes < self._least * self._waited:
            raise ApiError.aborted(
                "UPLOAD_TOO_SLOW",
                f"{self._bytes} bytes came in {self._waited:.0f} s, less than "
                f"{self._least:g} a second: ask GetUploadStatus, then resume with larger chunks",
            )
        self._waited, self._bytes = 0.0, 0
