"""A provider as the registry knows it before it is opened: what an entry point gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias

from msgspec import Raw, Struct

from core.providers.contract import Provider
from core.providers.direct.contract import DirectProvider
from core.providers.http.holds import CredentialHold
from core.providers.translation import Note

Check: TypeAlias = Callable[[str, str, bytes | Raw], Sequence[Note]]
"""Takes url, model as named in the file, and body; tells what its translation would change,
lose and refuse. Raises LineRejected. Runs for every line of an upload: has to be fast."""


class PlainBody(NamedTuple):
    """The short way of a check for requests of the common kind, which are decoded already."""

    body: type[Struct]
    """Refuses unknown fields, wants a message at least, and takes texts alone: no images,
    recordings or files. Has the attributes `model`, `messages`, `max_tokens`,
    `max_completion_tokens`, and `stream`, which is nothing but None. All other fields are
    options, Raw or UNSET, `tools` among them; its attribute `has_options` is false where none is
    given, so that every value was decoded, and none skipped over."""
    check: Callable[[Any], Sequence[Note] | None]
    """Takes a decoded body; gives what the check would say of it, or None: it has to be asked."""
    fits: Callable[[Any], bool] | None = None
    """Takes a body's messages; tells whether what the check says surely depends on nothing of
    them. It is then remembered for bodies that are alike otherwise. A message has a role and a
    content, both texts. None: it never is."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What an adapter is opened with. Times in seconds where they are numbers."""

    key: str
    """Fit for a header; empty where the plug-in names no variable for it."""
    timeout: float
    """For one exchange with the provider."""
    settle: timedelta
    """How long after an unclear create its absence is doubted."""
    calls_at_once: int = 16
    """Of single calls, at most: for CallLimits."""
    hold: CredentialHold = field(default_factory=CredentialHold.alone)
    """Until when the provider wants no call with the key: for ProviderHttp."""


class BadProviderConfig(ValueError):
    """The providers are set up in a way that their operator has to fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPlugin:
    """One provider: its name, what it needs, and how it is opened."""

    slug: str
    """As files name it: lower-case letters, digits and dashes."""
    endpoints: frozenset[str]
    """Those that it has, as urls of a file's lines, such as "/v1/chat/completions"."""
    key_variable: str
    """The environment variable that holds the key; empty: it needs none."""
    open: Callable[[Opening], Provider] | None = None
    open_direct: Callable[[Opening], DirectProvider] | None = None
    """In the place of `open`: for a provider without a batch API."""
    open_calls: Callable[[Opening], DirectProvider] | None = None
    """Beside `open`: its real-time endpoints, for lines that are to be rescued before the
    completion window closes."""
    call_endpoints: frozenset[str] = frozenset()
    """Those of `endpoints` that `open_calls` serves."""
    check: Check | None = None
    """What it asks of each request beyond the form of the endpoint."""
    plain: PlainBody | None = None
    """For speed alone: the chat completions of the common kind."""
    own_plain: PlainBody | None = None
    """Likewise: requests in the provider's own form."""
    models: Sequence[str] = ()
    """Its models' names, or patterns of them with `*` and `?`: a line without a provider that
    asks for one is for it. Empty: nothing is known of them."""
    scope: str = ""
    """What beside the key decides which batches are seen: address, organisation, project."""

    def __post_init__(self) -> None:
        if (self.open is None) == (self.open_direct is None):
            raise BadProviderConfig(
                f"the provider {self.slug!r} has to be given by one of open and open_direct"
            )
        if self.open_calls is not None and self.open is None:
            raise BadProviderConfig(
                f"the provider {self.slug!r} has open_calls, which is for one with open"
            )
