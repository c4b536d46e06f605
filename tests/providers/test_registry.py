"""Which providers there are, the models they know, and the check at upload."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from anthropic.types.model import Model as SdkModel

from core.providers import PLAIN, LineRejected, check_request, open_providers, provider_rules
from core.providers.anthropic import VERSION
from core.providers.catalogue import CATALOGUE, find_model
from core.settings import ProviderAccess, Settings
from tests.providers.fake_provider import FakeProvider

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "name",
    [
        "anthropic/claude-4.5-sonnet",
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-sonnet-4-5",
        "claude-4-5-sonnet",
        "Claude-Sonnet-4.5",
        "claude-sonnet-4-5-20250929",
    ],
)
def test_every_spelling_of_a_model(name: str) -> None:
    model = find_model("anthropic", name)
    assert (model.id, model.max_output) == ("claude-sonnet-4-5-20250929", 64_000)


@pytest.mark.parametrize(
    ("provider", "name", "remote"),
    [
        ("openai", "openai/gpt-4.1", "gpt-4.1"),
        ("openai", "gpt-6.2-sol", "gpt-6.2-sol"),
        ("openai", "openai/ft:gpt-4.1:org::id", "ft:gpt-4.1:org::id"),
        ("openai", "anthropic/claude", "anthropic/claude"),
        ("anthropic", "anthropic/claude-opus-5", "claude-opus-5"),
        ("anthropic", "claude-5.5-haiku", "claude-haiku-5-5"),
        ("anthropic", "anthropic/claude-of-tomorrow", "claude-of-tomorrow"),
    ],
)
def test_ids_at_the_provider(provider: str, name: str, remote: str) -> None:
    assert find_model(provider, name).id == remote


def test_every_model_of_the_sdk_is_listed() -> None:
    # Retired (anthropic 2.12.0 resources/messages, DEPRECATED_MODELS).
    retired = {"claude-mythos-preview"}
    literal, _ = get_args(SdkModel)
    for name in set(get_args(literal)) - retired:
        model = CATALOGUE.model("anthropic", name)
        assert model.family, name
        assert model.max_output, name


def access(**values: str) -> ProviderAccess:
    keys = {"openai_api_key": None, "anthropic_api_key": None}
    return ProviderAccess(**(keys | values))  # type: ignore[arg-type]


def test_rules_of_all_known_providers() -> None:
    assert provider_rules() == {
        "openai": frozenset({CHAT, "/v1/embeddings"}),
        "anthropic": frozenset({CHAT}),
    }


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({}, set()),
        ({"openai_api_key": ""}, set()),
        ({"openai_api_key": "sk-1"}, {"openai"}),
        ({"anthropic_api_key": "sk-2"}, {"anthropic"}),
        ({"openai_api_key": "sk-1", "anthropic_api_key": "sk-2"}, {"openai", "anthropic"}),
    ],
)
async def test_providers_with_a_key_are_opened(keys: dict[str, str], names: set[str]) -> None:
    providers = open_providers(access(**keys), Settings())
    assert providers.keys() == names
    for name, provider in providers.items():
        assert provider.name == name
        assert provider.limits.endpoints == provider_rules()[name]
        await provider.close()


def test_an_unusable_key_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as caught:
        open_providers(access(openai_api_key="sk 1"), Settings())
    assert "sk 1" not in str(caught.value)


async def test_what_is_sent_to_prove_who_asks(fake: FakeProvider) -> None:
    given = access(
        openai_api_key="sk-1",
        openai_base_url=f"{fake.url}/v1/",
        OPENAI_ORG_ID="org-1",
        OPENAI_PROJECT_ID="proj-1",
        anthropic_api_key="sk-2",
        anthropic_base_url=fake.url,
    )
    providers = open_providers(given, Settings())
    for provider in providers.values():
        with pytest.raises(Exception, match="no such thing"):
            await provider.poll("batch/../1?x")
        await provider.close()
    first, second = fake.calls
    assert first.path == "/v1/batches/batch/../1?x"
    assert first.headers["authorization"] == "Bearer sk-1"
    assert first.headers["openai-organization"] == "org-1"
    assert first.headers["openai-project"] == "proj-1"
    assert second.path == "/v1/messages/batches/batch/../1?x"
    assert second.headers["x-api-key"] == "sk-2"
    assert second.headers["anthropic-version"] == VERSION
    assert "authorization" not in second.headers


BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":5}'


def test_check_request() -> None:
    assert not check_request("anthropic", CHAT, "claude-opus-5", BODY)
    assert check_request("openai", CHAT, "gpt-4.1", BODY) == ()
    (note,) = check_request(
        "anthropic", CHAT, "claude-opus-5", BODY.replace(b'"max', b'"seed":1,"max')
    )
    assert (note.field, note.reason) == ("body.seed", "ignored")


def test_requests_of_the_common_kind_pass_unchecked() -> None:
    body_type, passes = PLAIN["anthropic"]
    claude = BODY.replace(b'"m"', b'"anthropic/claude-4.5-sonnet"')
    assert passes(msgspec.json.decode(claude, type=body_type))
    silent = claude.replace(b',"max_tokens":5', b"")
    assert not passes(msgspec.json.decode(silent, type=body_type))


@pytest.mark.parametrize(
    ("provider", "url", "body", "field"),
    [
        ("mistral", CHAT, BODY, "provider"),
        ("anthropic", "/v1/embeddings", b'{"input":"x"}', "url"),
        ("openai", "/v1/audio", BODY, "url"),
        ("openai", CHAT, BODY.replace(b'"max', b'"stream":true,"max'), "body.stream"),
    ],
)
def test_check_request_refuses(provider: str, url: str, body: bytes, field: str) -> None:
    with pytest.raises(LineRejected) as caught:
        check_request(provider, url, "claude-opus-5", body)
    assert caught.value.field == field
