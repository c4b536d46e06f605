"""The last word on each line of the log: what is known to be secret does not pass.

Whoever writes a line of the log names no secret in the first place. This is for the texts of
others: exceptions of libraries, which may quote a URL with its password or a header. No library:
those find what looks like a secret; this knows the secrets of its process and misses none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

REMOVED = "[removed]"

_SECRET_NAME = re.compile(r"(KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL)S?(_|$)", re.IGNORECASE)
# Settings that are named like one: files, and numbers of tokens.
_NO_SECRETS = frozenset(
    {"POLYBATCH_TLS_KEY", "POLYBATCH_TLS_CLIENT_KEY", "POLYBATCH_ENQUEUED_TOKEN_LIMITS"}
)
# Shorter ones stand in ordinary text by chance.
_SHORTEST = 8
_SHAPES = (
    # Keys of polybatch: core.ledger.accounts.
    r"\bpb_[A-Za-z0-9_-]{32,}",
    # Secrets of webhooks: core.webhooks.messages.
    r"\bwhsec_[A-Za-z0-9+/_-]{20,}=*",
    r"(?<=[Bb]earer )\S+",
    # The password of a URL.
    r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)",
)


class Redactor:
    """Replaces secrets in a text: those it was given, and what has the form of one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: one may be part of another.
        parts = [re.escape(each) for each in sorted(known, key=len, reverse=True)]
        self._pattern = re.compile("|".join([*parts, *_SHAPES]))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(REMOVED, text)


def secrets_of(environ: Mapping[str, str]) -> Iterator[str]:
    """The values of variables that are named like secrets, and the passwords of URLs."""
    for name, value in environ.items():
        if name in _NO_SECRETS:
            continue
        if _SECRET_NAME.search(name):
            yield value.strip()
        elif "://" in value:
            yield from _passwords(value)


def _passwords(urls: str) -> Iterator[str]:
    for url in urls.split(","):
        try:
            password = urlsplit(url.strip()).password
        except ValueError:
            # No URL, or one that nothing can connect to.
            continue
        if password:
            yield password
            yield unquote(password)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    # As it stands inside a line that is JSON, and in a traceback's repr.
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
