"""Which providers there are, and which of them can be reached with the keys at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Raw

from core.providers import anthropic, openai
from core.providers.anthropic import AnthropicProvider
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected, Provider
from core.providers.http import ProviderHttp, clean_key
from core.providers.openai import OpenAIProvider
from core.providers.translation import Note, PlainRequest, check_translation, is_plain
from core.settings import ProviderAccess, Settings

TRANSLATED = frozenset({"anthropic"})
"""Providers whose requests are put into another form; of others check_request says nothing."""


def _is_plain(request: PlainRequest) -> bool:
    return is_plain(find_model("anthropic", request.model), request)


PLAIN = {"anthropic": (PlainRequest, _is_plain)}
"""Provider slug to requests that surely pass its check: their type, and a test of them."""


def provider_rules() -> Mapping[str, frozenset[str]]:
    """Endpoints by provider slug, of all known providers, with a key or without."""
    return {"openai": openai.LIMITS.endpoints, "anthropic": anthropic.LIMITS.endpoints}


def open_providers(access: ProviderAccess, settings: Settings) -> dict[str, Provider]:
    """The adapters of the providers that have a key. Raises ValueError for an unusable key.

    The caller closes each of them.
    """
    providers: dict[str, Provider] = {}
    settle = timedelta(seconds=settings.reconcile_settle)
    if access.openai_api_key is not None and access.openai_api_key.get_secret_value():
        key = clean_key("OPENAI_API_KEY", access.openai_api_key.get_secret_value())
        headers = {"authorization": f"Bearer {key}"}
        if access.openai_organization:
            headers["openai-organization"] = access.openai_organization
        if access.openai_project:
            headers["openai-project"] = access.openai_project
        http = ProviderHttp(
            access.openai_base_url, headers, secret=key, timeout=settings.provider_timeout
        )
        providers["openai"] = OpenAIProvider(http, settle=settle)
    if access.anthropic_api_key is not None and access.anthropic_api_key.get_secret_value():
        key = clean_key("ANTHROPIC_API_KEY", access.anthropic_api_key.get_secret_value())
        headers = {"x-api-key": key, "anthropic-version": anthropic.VERSION}
        http = ProviderHttp(
            access.anthropic_base_url, headers, secret=key, timeout=settings.provider_timeout
        )
        providers["anthropic"] = AnthropicProvider(http, settle=settle)
    return providers


def check_request(provider: str, url: str, model: str, body: bytes | Raw) -> Sequence[Note]:
    """Whether a provider would take a request; what would be dropped or filled in.

    `model` as named in the file. Cheap enough for every line of an upload. Raises
    LineRejected, with the path of the field.
    """
    endpoints = provider_rules().get(provider)
    if endpoints is None:
        raise LineRejected("provider", "unknown_provider", f"There is no provider {provider}.")
    if url not in endpoints:
        raise LineRejected("url", "unsupported_endpoint", f"{provider} has no {url}.")
    if provider in TRANSLATED:
        return check_translation(find_model(provider, model), body)
    openai.check_body(body)
    return ()
