"""What a file may ask for, and what else its providers have to say of its requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Raw

from core.batchfile.fast_path import Plain


class Finding(NamedTuple):
    """What a provider's own check says of one request."""

    field: str
    reason: str
    message: str
    severity: Literal["error", "warning"]
    lenient: bool = False
    """Whether an error is one only for batches that are not lenient."""


Check: TypeAlias = Callable[[str, str, Raw], Iterable[Finding]]
"""Takes url, model as named in the file, and body. Runs for every line: has to be fast."""

Infer: TypeAlias = Callable[[str, str], Sequence[str]]
"""Takes the model and the url of a line that names no provider; gives the providers that it may
mean: none, one, or several."""


class Media(NamedTuple):
    """What the images, recordings and files of a request are."""

    data_bytes: int
    """Of the line that are their base64, and no text."""
    tokens: int
    findings: Iterable[Finding] = ()
    """What is wrong with them; fields are paths within the body."""
    audio_tokens: int = 0
    """Of the tokens, recordings'."""
    at_most: int = 0
    """Tokens at the most."""
    unseen: bool = False
    """Whether some are only named, and may be of any length."""


NO_MEDIA = Media(0, 0)

MediaCheck: TypeAlias = Callable[[str, str, str, Raw], Media]
"""Takes provider, url, model as named in the file, and body. Asked of each line that may have
any."""

ModelCheck: TypeAlias = Callable[[str, str, str], Iterable[Finding]]
"""Takes provider, url and model as named in the file; asked on a model's first valid line."""


def _nothing(_provider: str, _url: str, _model: str) -> Iterable[Finding]:
    return ()


def _nobody(_model: str, _url: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file may ask for."""

    providers: Mapping[str, frozenset[str]]
    """Provider slug to the endpoints (url paths) that it supports."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """Provider slug to what else is asked of each request that is valid otherwise."""
    plain: Mapping[str, Plain] = field(default_factory=dict)
    """Provider slug to a short way for its chat completions of the common kind."""
    own_plain: Mapping[str, Plain] = field(default_factory=dict)
    """The same for requests in its own form."""
    check_model: ModelCheck = _nothing
    """What is to be said of each model; an error is one of all its lines."""
    media: MediaCheck | None = None
    infer: Infer = _nobody
    """Whose model it is, where neither the line nor the model's prefix says it."""
    default_provider: str = ""
    """The one of lines for which that finds none, or several of which it is one."""
    default_model: str = ""
    """The one of lines whose form may leave it out."""
