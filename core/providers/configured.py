"""Providers that exist by configuration alone: the tables of the providers file.

The file's settings are described in docs/providers.md; presets.toml beside this module
has those of well-known providers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Raw

from core import endpoints
from core.providers.contract import Provider, ProviderLimits
from core.providers.direct import adapter as direct
from core.providers.direct.beside_batches import called, dialect_calls
from core.providers.direct.contract import CallLimits, DirectProvider
from core.providers.http.client import ProviderHttp
from core.providers.mistral import adapter as mistral
from core.providers.mistral.adapter import MistralProvider
from core.providers.openai.adapter import Dialect, OpenAIProvider
from core.providers.plugin import BadProviderConfig, Check, Opening, ProviderPlugin
from core.providers.translation import Note
from core.providers.translation.responses import (
    ANY_MODEL,
    LimitField,
    check_through_chat,
    with_responses,
)
from core.struct_types import prepared

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_ENDPOINTS = endpoints.OPENAI
_USUAL = (endpoints.CHAT_COMPLETIONS, endpoints.EMBEDDINGS)

_Count = Annotated[int, Meta(ge=1)]
_Path = Annotated[str, Meta(pattern="^/")]
_Tables = dict[str, dict[str, Any]]


class Compatible(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A provider with OpenAI's files and batches."""

    kind: Literal["openai-compatible"]
    base_url: str
    api_key_env: str
    endpoints: Annotated[list[str], Meta(min_length=1)]
    auth: Literal["bearer", "api-key"] = "bearer"
    urls: dict[str, _Path] = {}
    limit_field: LimitField = "max_tokens"
    """Of chat completions that are made of Responses requests."""
    max_lines: _Count = 50_000
    max_bytes: _Count = 100_000_000
    max_embedding_inputs: _Count | None = None
    one_model_per_batch: bool = True
    completion_window: str = "24h"
    upload_path: _Path = "/files"
    upload_fields: dict[str, str] = msgspec.field(default_factory=lambda: {"purpose": "batch"})
    create_fields: dict[str, Any] = {}
    models: list[Annotated[str, Meta(min_length=1)]] = []
    keeps_metadata: bool = True
    processes_uploads: bool = False
    real_time: bool = True
    """It answers single calls under its base URL, too."""

    def __post_init__(self) -> None:
        _check(self)


class Mistral(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A provider with Mistral's batch jobs."""

    kind: Literal["mistral"]
    base_url: str
    api_key_env: str
    endpoints: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [*_USUAL]
    )
    max_lines: _Count = mistral.LIMITS.max_lines
    max_bytes: _Count = mistral.LIMITS.max_bytes
    timeout_hours: _Count = mistral.TIMEOUT_HOURS
    models: list[Annotated[str, Meta(min_length=1)]] = []
    real_time: bool = True

    def __post_init__(self) -> None:
        _check(self)


class Direct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A server without batches that answers OpenAI's single calls."""

    kind: Literal["openai-direct"]
    base_url: str
    api_key_env: str = ""
    """Empty: the server asks for no key."""
    endpoints: Annotated[list[str], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [*_USUAL]
    )
    auth: Literal["bearer", "api-key"] = "bearer"
    urls: dict[str, _Path] = {}
    limit_field: LimitField = "max_tokens"
    max_concurrency: _Count = direct.CONCURRENCY
    requests_per_minute: Annotated[float, Meta(gt=0)] | None = None
    rerun_lost: bool | None = None
    """None: where there is a key, a call may have to be paid for, so no."""
    max_lines: _Count = direct.SHARD_LINES
    models: list[Annotated[str, Meta(min_length=1)]] = []

    def __post_init__(self) -> None:
        _check(self)


_Settings = Compatible | Mistral | Direct

_KINDS: dict[str, type[_Settings]] = {
    "openai-compatible": Compatible,
    "openai-direct": Direct,
    "mistral": Mistral,
}
for _kind in _KINDS.values():
    prepared(_kind)


def _check(found: _Settings) -> None:
    """Raise ValueError for what the types do not say."""
    address = urlsplit(found.base_url)
    if address.scheme not in ("http", "https") or not address.hostname or address.query:
        raise ValueError("base_url has to be an http:// or https:// URL without a query")
    if address.username or address.password:
        raise ValueError("base_url must not hold a key: name its variable in api_key_env")
    keyless = isinstance(found, Direct) and not found.api_key_env
    if not keyless and not _VARIABLE.fullmatch(found.api_key_env):
        # Never shown: it may be the key itself.
        raise ValueError(
            "api_key_env has to be the name of an environment variable that holds the key, "
            "such as ACME_API_KEY; the key itself does not belong in this file"
        )
    for named in (found.endpoints, () if isinstance(found, Mistral) else found.urls):
        if not _ENDPOINTS.issuperset(named):
            raise ValueError(f"endpoints and urls have to be of {', '.join(sorted(_ENDPOINTS))}")


def read_providers_file(path: Path) -> list[ProviderPlugin]:
    """The providers that a file sets up. Raises BadProviderConfig."""
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=_Tables)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadProviderConfig(f"{path}: {error}") from None
    return [_plugin(path, slug, table) for slug, table in tables.items()]


def _plugin(path: Path, slug: str, table: Mapping[str, Any]) -> ProviderPlugin:
    where = f"{path}, [{slug}]"
    if not _SLUG.fullmatch(slug):
        raise BadProviderConfig(
            f"{where}: a provider's name has lower-case letters, digits, dashes"
        )
    settings = dict(table)
    preset = settings.pop("preset", slug if slug in presets() else None)
    if preset is not None:
        if not isinstance(preset, str) or preset not in presets():
            known = ", ".join(sorted(presets()))
            raise BadProviderConfig(f"{where}: there is no preset {preset!r}, only {known}")
        settings = {**presets()[preset], **settings}
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadProviderConfig(f"{where}: kind has to be one of {', '.join(_KINDS)}")
    try:
        found = msgspec.convert(settings, _KINDS[kind])
    except msgspec.ValidationError as error:
        raise BadProviderConfig(f"{where}: {_readable(error)}") from None
    offered = with_responses(frozenset(found.endpoints))
    check = _check_responses if _translates_responses(found) else None
    variable = found.api_key_env
    if isinstance(found, Direct):
        opener = partial(_open_direct, slug, found)
        return ProviderPlugin(
            slug=slug,
            endpoints=offered,
            key_variable=variable,
            open_direct=opener,
            models=found.models,
            check=partial(_check_direct, check) if check else None,
        )
    open_one: Callable[[Opening], Provider]
    if isinstance(found, Mistral):
        open_one = partial(_open_mistral, slug, found)
    else:
        open_one = partial(_open, slug, found)
    return ProviderPlugin(
        slug=slug,
        endpoints=offered,
        key_variable=variable,
        open=open_one,
        open_calls=partial(_open_calls, slug, found) if found.real_time else None,
        call_endpoints=called(offered),
        models=found.models,
        check=check,
        scope=found.base_url,
    )


def _translates_responses(settings: _Settings) -> bool:
    """Whether Responses requests have to be sent as chat completions."""
    named = settings.endpoints
    return endpoints.CHAT_COMPLETIONS in named and endpoints.RESPONSES not in named


def _check_responses(url: str, _model: str, body: bytes | Raw) -> Sequence[Note]:
    """What is lost of Responses requests; all others are sent as they are."""
    if url != endpoints.RESPONSES:
        return ()
    return check_through_chat(_nothing, body, model=ANY_MODEL)


def _check_direct(check: Check, url: str, model: str, body: bytes | Raw) -> Sequence[Note]:
    """The same for single calls, of whose requests nothing is left out in any mode."""
    notes = check(url, model, body)
    return [replace(note, weight="refused") if note.weight == "lost" else note for note in notes]


def _nothing(_chat: bytes) -> Sequence[Note]:
    return ()


def _headers(settings: _Settings, key: str) -> dict[str, str]:
    if not key:
        return {}
    if not isinstance(settings, Mistral) and settings.auth == "api-key":
        return {"api-key": key}
    return {"authorization": f"Bearer {key}"}


def _http(
    slug: str, settings: Compatible | Mistral, opening: Opening, connections: int | None = None
) -> ProviderHttp:
    return ProviderHttp(
        settings.base_url,
        _headers(settings, opening.key),
        secret=opening.key,
        timeout=opening.timeout,
        provider=slug,
        connections=connections,
        hold=opening.hold,
    )


def _open_direct(slug: str, settings: Direct, opening: Opening) -> DirectProvider:
    keyless = not settings.api_key_env
    http = ProviderHttp(
        settings.base_url,
        _headers(settings, opening.key),
        secret=opening.key,
        timeout=opening.timeout,
        provider=slug,
        connections=settings.max_concurrency,
        hold=opening.hold,
    )
    return direct.OpenAICalls(
        http,
        slug=slug,
        limits=ProviderLimits(
            max_lines=settings.max_lines,
            max_bytes=direct.SHARD_BYTES,
            one_model_per_batch=False,
            endpoints=with_responses(frozenset(settings.endpoints)),
        ),
        call_limits=CallLimits(
            max_concurrency=settings.max_concurrency,
            requests_per_minute=settings.requests_per_minute,
            rerun_lost=keyless if settings.rerun_lost is None else settings.rerun_lost,
        ),
        urls=settings.urls,
        translates_responses=_translates_responses(settings),
        limit_field=settings.limit_field,
    )


def _open(slug: str, settings: Compatible, opening: Opening) -> Provider:
    http = _http(slug, settings, opening)
    return OpenAIProvider(http, dialect=_dialect(slug, settings), settle=opening.settle)


def _open_mistral(slug: str, settings: Mistral, opening: Opening) -> Provider:
    http = _http(slug, settings, opening)
    dialect = _dialect(slug, settings)
    return MistralProvider(http, dialect=dialect, jobs=mistral.JOBS, settle=opening.settle)


def _open_calls(slug: str, settings: Compatible | Mistral, opening: Opening) -> DirectProvider:
    http = _http(slug, settings, opening, connections=opening.calls_at_once)
    limits = CallLimits(max_concurrency=opening.calls_at_once)
    return dialect_calls(http, _dialect(slug, settings), limits)


def _dialect(slug: str, settings: Compatible | Mistral) -> Dialect:
    offered = with_responses(frozenset(settings.endpoints))
    if isinstance(settings, Mistral):
        return Dialect(
            slug=slug,
            limits=replace(
                mistral.LIMITS,
                max_lines=settings.max_lines,
                max_bytes=settings.max_bytes,
                endpoints=offered,
            ),
            translates_responses=_translates_responses(settings),
            # "Extra inputs are not permitted" is said of the newer name.
            limit_field="max_tokens",
            create_fields={"timeout_hours": settings.timeout_hours},
            keeps_results=mistral.KEEPS_RESULTS,
            keeps_inputs=mistral.INPUT_LIFETIME,
        )
    return Dialect(
        slug=slug,
        limits=ProviderLimits(
            max_lines=settings.max_lines,
            max_bytes=settings.max_bytes,
            one_model_per_batch=settings.one_model_per_batch,
            endpoints=offered,
            max_embedding_inputs=settings.max_embedding_inputs,
        ),
        urls=settings.urls,
        translates_responses=_translates_responses(settings),
        limit_field=settings.limit_field,
        completion_window=settings.completion_window,
        upload_path=settings.upload_path,
        upload_fields=settings.upload_fields,
        create_fields=settings.create_fields,
        keeps_metadata=settings.keeps_metadata,
        processes_uploads=settings.processes_uploads,
    )


@cache
def presets() -> _Tables:
    """The settings of well-known providers, by name."""
    text = files("core.providers").joinpath("presets.toml").read_bytes()
    return msgspec.toml.decode(text, type=_Tables)


def _readable(error: msgspec.ValidationError) -> str:
    """ "Expected `int`, got `str` - at `$.max_lines`" -> "max_lines: Expected ..."."""
    what, _, place = str(error).partition(" - at `$")
    place = place.strip(".`")
    return f"{place}: {what}" if place else what
