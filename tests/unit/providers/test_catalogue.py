"""Models: the names that people use for them, and what is known of each."""

from __future__ import annotations

from typing import get_args

import pytest
from anthropic.types.model import Model as AnthropicModel
from openai.types.embedding_model import EmbeddingModel

from core.providers.catalogue import CATALOGUE, Catalogue, Model, find_model

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


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
    literal, _ = get_args(AnthropicModel)
    for name in set(get_args(literal)) - retired:
        model = CATALOGUE.model("anthropic", name)
        assert model.family, name
        assert model.max_output, name


def test_every_embedding_model_of_the_sdk_is_listed() -> None:
    for name in get_args(EmbeddingModel):
        assert CATALOGUE.model("openai", name).endpoints == (EMBEDDINGS,)


@pytest.mark.parametrize("name", ["gpt-4.1", "gpt-6.2-sol", "openai/GPT-5.5"])
def test_chat_models(name: str) -> None:
    model = find_model("openai", name)
    assert model.listed
    assert model.endpoints == (CHAT,)
    assert model.batch


def test_a_fine_tuned_model_is_as_its_base() -> None:
    model = find_model("openai", "openai/ft:gpt-4.1-2025-04-14:org::id")
    assert model.id == "ft:gpt-4.1-2025-04-14:org::id"
    assert model.endpoints == (CHAT,)
    assert not model.retired
    assert find_model("openai", "ft:gpt-3.5-turbo:org::id").retired
    assert not find_model("openai", "ft:of-tomorrow:org::id").listed
    assert not find_model("openai", "ft:").listed


@pytest.mark.parametrize("provider", ["openai", "anthropic", "of-tomorrow"])
def test_a_model_that_is_not_listed_goes_as_it_is(provider: str) -> None:
    model = find_model(provider, f"{provider}/Model-of-Tomorrow")
    assert model == Model(id="Model-of-Tomorrow", endpoints=())
    assert not model.listed


def test_no_two_models_share_a_name() -> None:
    models = [Model(id="a", aliases=("c",)), Model(id="b", aliases=("C",))]
    with pytest.raises(ValueError, match="'c'"):
        Catalogue({"openai": models})
