"""The providers that polybatch comes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Raw

from core.endpoints import EMBEDDINGS, GENERATE_CONTENT, MESSAGES, RESPONSES
from core.providers.anthropic import adapter as anthropic
from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.anthropic.calls import ENDPOINTS as ANTHROPIC_CALLS
from core.providers.anthropic.calls import anthropic_calls
from core.providers.anthropic.native import PlainParams, begins_with_user, check_params
from core.providers.anthropic.translation import check_plain as check_plain_anthropic
from core.providers.anthropic.translation import check_translation
from core.providers.catalogue import find_model
from core.providers.contract import Provider
from core.providers.direct.beside_batches import called, dialect_calls
from core.providers.direct.contract import CallLimits, DirectProvider
from core.providers.gemini import adapter as gemini
from core.providers.gemini.adapter import GeminiProvider
from core.providers.gemini.calls import ENDPOINTS as GEMINI_CALLS
from core.providers.gemini.calls import gemini_calls
from core.providers.gemini.embeddings import check_embedding
from core.providers.gemini.request import check_plain as check_plain_gemini
from core.providers.gemini.request import check_request
from core.providers.http.client import ProviderHttp
from core.providers.openai import adapter as openai
from core.providers.openai.adapter import OpenAIProvider
from core.providers.openai.requests import check_plain as check_plain_openai
from core.providers.openai.requests import check_request as check_openai
from core.providers.plugin import Opening, PlainBody, ProviderPlugin
from core.providers.translation import Note, PlainRequest, are_plain
from core.providers.translation.responses import ANY_MODEL, check_through_chat
from core.settings import ProviderAccess

OPENAI_MODELS = (
    "gpt-[0-9]*",
    "gpt-audio*",
    "gpt-image-*",
    "chatgpt-*",
    "o[0-9]*",
    "text-embedding-*",
    "omni-moderation-*",
    "text-moderation-*",
    "dall-e-*",
    "davinci-002",
    "babbage-002",
    "ft:gpt-*",
    "ft:o[0-9]*",
    "ft:davinci-002:*",
    "ft:babbage-002:*",
)
"""OpenAI's names: openai 3.54 types/shared/all_models.py, embedding_model.py, image_model.py,
moderation_model.py. Not gpt-oss-*, which it does not serve."""


def built_in(access: ProviderAccess) -> Iterable[ProviderPlugin]:
    """OpenAI, Anthropic and Gemini, at the addresses of the settings."""
    return (_openai(access), _anthropic(access), _gemini(access))


def _openai(access: ProviderAccess) -> ProviderPlugin:
    def headers(opening: Opening) -> dict[str, str]:
        found = {"authorization": f"Bearer {opening.key}"}
        if access.openai_organization:
            found["openai-organization"] = access.openai_organization
        if access.openai_project:
            found["openai-project"] = access.openai_project
        return found

    def open_(opening: Opening) -> Provider:
        http = _http("openai", access.openai_base_url, headers(opening), opening)
        return OpenAIProvider(http, settle=opening.settle)

    def open_calls(opening: Opening) -> DirectProvider:
        http = _http("openai", access.openai_base_url, headers(opening), opening, calls=True)
        return dialect_calls(http, openai.OPENAI, _call_limits(opening))

    return ProviderPlugin(
        slug="openai",
        endpoints=openai.LIMITS.endpoints,
        key_variable="OPENAI_API_KEY",
        open=open_,
        open_calls=open_calls,
        call_endpoints=called(openai.LIMITS.endpoints),
        models=OPENAI_MODELS,
        check=check_openai,
        # What it asks of options and limits, it asks beside any texts.
        plain=PlainBody(PlainRequest, check_plain_openai, _always),
        scope=f"{access.openai_base_url} {access.openai_organization} {access.openai_project}",
    )


def _anthropic(access: ProviderAccess) -> ProviderPlugin:
    betas = [name.strip() for name in access.anthropic_betas.split(",") if name.strip()]

    def http(opening: Opening, *, calls: bool = False) -> ProviderHttp:
        headers = {"x-api-key": opening.key, "anthropic-version": anthropic.VERSION}
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        return _http("anthropic", access.anthropic_base_url, headers, opening, calls=calls)

    def open_(opening: Opening) -> Provider:
        return AnthropicProvider(http(opening), settle=opening.settle, betas=betas)

    def open_calls(opening: Opening) -> DirectProvider:
        called_by = http(opening, calls=True)
        adapter = AnthropicProvider(called_by, settle=opening.settle, betas=betas)
        return anthropic_calls(called_by, adapter, _call_limits(opening))

    def check(url: str, model: str, body: bytes | Raw) -> Sequence[Note]:
        if url == MESSAGES:
            check_params(body, find_model("anthropic", model), betas)
            return ()
        found = find_model("anthropic", model)
        if url == RESPONSES:
            check_chat = partial(check_translation, found)
            return check_through_chat(check_chat, body, model=found, passes_user=True)
        return check_translation(found, body)

    def check_plain(request: PlainRequest) -> Sequence[Note] | None:
        return check_plain_anthropic(find_model("anthropic", request.model), request)

    return ProviderPlugin(
        slug="anthropic",
        endpoints=anthropic.LIMITS.endpoints,
        key_variable="ANTHROPIC_API_KEY",
        open=open_,
        open_calls=open_calls,
        call_endpoints=ANTHROPIC_CALLS,
        models=("claude-*",),
        scope=access.anthropic_base_url,
        check=check,
        plain=PlainBody(PlainRequest, check_plain, are_plain),
        own_plain=PlainBody(PlainParams, _never, begins_with_user),
    )


def _gemini(access: ProviderAccess) -> ProviderPlugin:
    def http(opening: Opening, *, calls: bool = False) -> ProviderHttp:
        headers = {"x-goog-api-key": opening.key}
        return _http("gemini", access.gemini_base_url, headers, opening, calls=calls)

    def open_(opening: Opening) -> Provider:
        return GeminiProvider(http(opening), settle=opening.settle)

    def open_calls(opening: Opening) -> DirectProvider:
        called_by = http(opening, calls=True)
        adapter = GeminiProvider(called_by, settle=opening.settle)
        return gemini_calls(called_by, adapter, _call_limits(opening))

    def check(url: str, model: str, body: bytes | Raw) -> Sequence[Note]:
        if url == GENERATE_CONTENT:
            return ()
        if url == EMBEDDINGS:
            return check_embedding(body)
        if url == RESPONSES:
            check_chat = partial(check_request, gemini.remote_model(model))
            return check_through_chat(check_chat, body, model=ANY_MODEL)
        return check_request(gemini.remote_model(model), body)

    return ProviderPlugin(
        slug="gemini",
        endpoints=gemini.LIMITS.endpoints,
        key_variable="GEMINI_API_KEY",
        open=open_,
        open_calls=open_calls,
        call_endpoints=GEMINI_CALLS,
        models=("gemini-*", "models/gemini-*"),
        scope=access.gemini_base_url,
        check=check,
        plain=PlainBody(PlainRequest, check_plain_gemini, are_plain),
    )


def _always(_messages: Sequence[Any]) -> bool:
    return True


def _never(_body: Any) -> None:
    """The check itself is asked: of so many options there is no short way."""


def _call_limits(opening: Opening) -> CallLimits:
    return CallLimits(max_concurrency=opening.calls_at_once)


def _http(
    slug: str,
    base_url: str,
    headers: Mapping[str, str],
    opening: Opening,
    *,
    calls: bool = False,
) -> ProviderHttp:
    """`calls`: for single calls, of which many are under way at a time."""
    return ProviderHttp(
        base_url,
        headers,
        secret=opening.key,
        timeout=opening.timeout,
        provider=slug,
        connections=opening.calls_at_once if calls else None,
        hold=opening.hold,
    )
