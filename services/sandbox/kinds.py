"""What a call to a vendor's interface is, by its method and address."""

from __future__ import annotations

import re
from typing import Literal

Provider = Literal["openai", "anthropic", "gemini"]

CallKind = Literal[
    "announce",
    "upload",
    "create",
    "poll",
    "list",
    "cancel",
    "download",
    "delete",
    "single",
    "other",
]
"""announce: the first of the two calls of an upload to Gemini. poll: get one batch. list: of
batches or files. download: of results or any file's content. delete: a file or a batch.
single: a call outside any batch."""

_KINDS: tuple[tuple[str, re.Pattern[str], CallKind], ...] = (
    ("POST", re.compile(r"^(/v1|/upload/v1beta)/files$"), "upload"),
    (
        "POST",
        re.compile(r"(/batches|/batch/jobs|:batchGenerateContent|:asyncBatchEmbedContent)$"),
        "create",
    ),
    ("POST", re.compile(r"[/:]cancel$"), "cancel"),
    (
        "POST",
        re.compile(
            r"^/v1/(chat/completions|responses|embeddings|completions|moderations"
            r"|images/generations|messages)$|:generateContent$"
        ),
        "single",
    ),
    ("GET", re.compile(r"(/content|/results|:download)$"), "download"),
    ("GET", re.compile(r"(/batches|/batch/jobs|/files)$"), "list"),
    ("GET", re.compile(r"(/batches|/batch/jobs)/[^/]+$"), "poll"),
    ("DELETE", re.compile(r""), "delete"),
)
_BATCH = re.compile(r"^/(?:v1/messages/|v1beta/|v1/)(?:batches|batch/jobs)/([^/:]+)")


def provider_of(path: str) -> Provider | None:
    """Whose interface a path belongs to; None: the sandbox's own."""
    if path.startswith(("/v1beta/", "/upload/v1beta/", "/download/v1beta/")):
        return "gemini"
    if path.startswith("/v1/messages"):
        return "anthropic"
    return "openai" if path.startswith("/v1/") else None


def kind_of(method: str, path: str, *, announced: bool) -> CallKind:
    """What a call is; `announced`: its address is one that an announced upload was given."""
    for its_method, pattern, kind in _KINDS:
        if method == its_method and pattern.search(path):
            announcing = path.startswith("/upload/") and not announced
            return "announce" if announcing else kind
    return "other"


def batch_of(path: str) -> str | None:
    """The id of the one batch that a path is about, without Gemini's prefix."""
    found = _BATCH.match(path)
    return found.group(1) if found else None
