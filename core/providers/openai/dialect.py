"""OpenAI's files and batches in numbers and names, and where servers in its form differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core import endpoints
from core.providers.contract import ProviderLimits
from core.providers.translation.responses import LimitField

LIMITS = ProviderLimits(
    max_lines=50_000,
    # "200 MB": the smaller reading, so that no file is refused for its size.
    max_bytes=200_000_000,
    one_model_per_batch=True,
    endpoints=endpoints.OPENAI,
    max_embedding_inputs=50_000,
)

INPUT_FILE_SECONDS = 7 * 86400
"""How long OpenAI keeps an uploaded input: past any batch's end, and orphans do go away."""
OUTPUT_FILE_SECONDS = 30 * 86400
"""How long it keeps results; its own default, and the longest there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where a server with OpenAI's files and batches differs from OpenAI itself."""

    slug: str
    limits: ProviderLimits
    urls: Mapping[str, str] = field(default_factory=dict)
    """Our endpoints to what the server calls them, where that is something else."""
    translates_responses: bool = False
    """The server has no /v1/responses: such requests are sent as chat completions."""
    limit_field: LimitField = "max_completion_tokens"
    """Of the chat completions that are made of them."""
    completion_window: str = "24h"
    upload_path: str = "/files"
    upload_fields: Mapping[str, str] = field(default_factory=lambda: {"purpose": "batch"})
    """Sent before the file; "{filename}" stands for its name."""
    create_fields: Mapping[str, Any] = field(default_factory=dict)
    """Further members of a create."""
    keeps_metadata: bool = True
    """False: a batch is found again by the name of its input file."""
    drops_nulls: bool = False
    """Optional members that are null are left out of what is sent."""
    ignores_tiers: bool = False
    """A request's service_tier means nothing in a batch, and is left out of what is sent."""
    keeps_results: timedelta = timedelta(seconds=OUTPUT_FILE_SECONDS)
    """How long after a batch's end."""
    processes_uploads: bool = False
    """An uploaded file can be used only when its status says so."""
    keeps_inputs: timedelta = timedelta(days=1)
    """How long an upload stays for which no expiry is asked. Servers say little of it."""

    def served(self, url: str) -> str:
        """What the server calls the endpoint that answers requests for one of ours."""
        if url == endpoints.RESPONSES and self.translates_responses:
            url = endpoints.CHAT_COMPLETIONS
        return self.urls.get(url, url)

    @property
    def input_lifetime(self) -> timedelta:
        """How long an upload stays: as its fields ask for."""
        for name in ("expires_after[seconds]", "expires_after.seconds"):
            seconds = self.upload_fields.get(name, "")
            if seconds.isascii() and seconds.isdigit():
                return timedelta(seconds=int(seconds))
        return self.keeps_inputs


OPENAI = Dialect(
    slug="openai",
    limits=LIMITS,
    drops_nulls=True,
    ignores_tiers=True,
    upload_fields={
        "purpose": "batch",
        "expires_after[anchor]": "created_at",
        "expires_after[seconds]": str(INPUT_FILE_SECONDS),
    },
    create_fields={
        "output_expires_after": {"anchor": "created_at", "seconds": OUTPUT_FILE_SECONDS}
    },
)
