"""Providers in OpenAI's form, set up by the providers file alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from core.providers import (
    Accepted,
    BadProviderConfig,
    KnownProviders,
    Opening,
    Provider,
    known_providers,
)
from core.providers.configured import Compatible, presets, read_providers_file
from core.providers.openai.adapter import OpenAIProvider
from core.settings import ProviderAccess, Settings
from tests.support.providers.fake_provider import FakeProvider, make_intent

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
RESPONSES = "/v1/responses"
SECRET = "sk-live-0123456789abcdef"

ACME = """
[acme]
kind = "openai-compatible"
base_url = "https://acme.test/v1"
api_key_env = "ACME_API_KEY"
endpoints = ["/v1/chat/completions"]
"""


def known(tmp_path: Path, text: str) -> KnownProviders:
    path = tmp_path / "providers.toml"
    path.write_text(text)
    return known_providers(ProviderAccess(), Settings(providers_file=path))


async def opened(tmp_path: Path, text: str) -> Provider:
    """The one provider of the file, with a key."""
    path = tmp_path / "providers.toml"
    path.write_text(text)
    (plugin,) = read_providers_file(path)
    assert plugin.open is not None
    provider = plugin.open(Opening(key="k-1", timeout=5.0, settle=timedelta(seconds=60)))
    await provider.close()
    return provider


def test_five_lines_make_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_API_KEY", raising=False)
    found = known(tmp_path, ACME)
    assert found.rules["acme"] == {CHAT, RESPONSES}
    assert found.missing_keys["acme"] == "ACME_API_KEY"
    assert "acme" not in found.usable
    monkeypatch.setenv("ACME_API_KEY", "k-1")
    assert "acme" in known(tmp_path, ACME).usable


async def test_all_settings(tmp_path: Path) -> None:
    provider = await opened(
        tmp_path,
        """
        [acme]
        kind = "openai-compatible"
        base_url = "https://acme.test/v2"
        api_key_env = "ACME_API_KEY"
        endpoints = ["/v1/chat/completions", "/v1/embeddings"]
        max_lines = 7
        max_bytes = 1000
        max_embedding_inputs = 50
        one_model_per_batch = false
        urls = { "/v1/embeddings" = "/embed" }
        """,
    )
    limits = provider.limits
    assert (limits.max_lines, limits.max_bytes, limits.max_embedding_inputs) == (7, 1000, 50)
    assert not limits.one_model_per_batch
    assert limits.endpoints == {CHAT, EMBEDDINGS, RESPONSES}
    line, _ = provider.encode_line("s-t-1", EMBEDDINGS, "acme/m", b'{"model":"acme/m","input":"x"}')
    assert json.loads(line) == {
        "custom_id": "s-t-1",
        "method": "POST",
        "url": "/embed",
        "body": {"model": "m", "input": "x"},
    }


def test_without_a_named_file_there_may_be_none(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert "groq" not in known_providers(ProviderAccess(), settings).rules
    (tmp_path / "providers.toml").write_text("[groq]\n")
    assert known_providers(ProviderAccess(), settings).rules["groq"] == {CHAT, RESPONSES}


def test_a_named_file_has_to_be_there(tmp_path: Path) -> None:
    settings = Settings(providers_file=tmp_path / "nothing.toml")
    with pytest.raises(BadProviderConfig, match=r"nothing\.toml"):
        known_providers(ProviderAccess(), settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[acme", "providers.toml: "),
        ("acme = 1", "providers.toml: "),
        ("[acme]", r"\[acme\]: kind has to be one of openai-compatible, openai-direct, mistral"),
        ("[acme]\nkind = ['x']", r"\[acme\]: kind has to be one of"),
        ("[Acme]\n", r"\[Acme\]: a provider's name has lower-case letters"),
        ('[acme]\npreset = "acme"', r"\[acme\]: there is no preset 'acme', only azure, "),
        ("[acme]\npreset = ['groq']", r"\[acme\]: there is no preset"),
        ("[azure]", r"\[azure\]: Object missing required field `base_url`"),
        (ACME + "speed = 1", r"\[acme\]: Object contains unknown field `speed`"),
        (ACME + "max_lines = 0", r"\[acme\]: max_lines: Expected `int` >= 1"),
        (ACME + 'max_lines = "1"', r"\[acme\]: max_lines: Expected `int`, got `str`"),
        (ACME + 'upload_path = "files"', r"\[acme\]: upload_path: Expected `str` matching"),
        (ACME.replace("https://", ""), r"\[acme\]: base_url has to be an http"),
        (ACME.replace('/v1"', '/v1?version=1"'), r"\[acme\]: base_url .* without a query"),
        (ACME.replace('["/v1/chat/completions"]', "[]"), r"\[acme\]: endpoints: Expected"),
        (ACME.replace("/v1/chat/completions", "/v1/videos"), r"\[acme\]: endpoints and urls"),
        (ACME + 'urls = { "/chat" = "/x" }', r"\[acme\]: endpoints and urls"),
        (ACME.replace("[acme]", "[openai]"), "two providers of the name 'openai'"),
        (ACME.replace("[acme]", "[gemini]"), "two providers of the name 'gemini'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadProviderConfig, match=message):
        known(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        ACME.replace("ACME_API_KEY", SECRET),
        ACME.replace("https://", f"https://user:{SECRET}@"),
    ],
)
def test_a_key_in_the_file_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadProviderConfig, match="api_key_env") as caught:
        known(tmp_path, text)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", sorted(presets()))
async def test_presets_are_complete(name: str, tmp_path: Path) -> None:
    table = f"[{name}]\n"
    if name == "azure":
        table += 'base_url = "https://ours.openai.azure.com/openai/v1"\n'
    provider = await opened(tmp_path, table)
    assert isinstance(provider, OpenAIProvider)
    assert provider.name == name
    assert CHAT in provider.limits.endpoints
    assert set(presets()[name]) <= set(Compatible.__struct_fields__)


async def test_what_a_file_sets_wins_over_the_preset(tmp_path: Path) -> None:
    text = '[ours]\npreset = "groq"\nmax_lines = 3\napi_key_env = "OUR_KEY"\n'
    provider = await opened(tmp_path, text)
    assert provider.name == "ours"
    assert provider.limits.max_lines == 3
    assert provider.limits.max_bytes == presets()["groq"]["max_bytes"]
    assert known(tmp_path, text).missing_keys["ours"] == "OUR_KEY"


async def test_azure_as_its_documentation_has_it(
    tmp_path: Path, fake: FakeProvider, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k-1")
    fake.on("POST", "/openai/v1/files", JSONResponse({"id": "file-1", "status": "processed"}))
    fake.on("POST", "/openai/v1/batches", JSONResponse({"id": "batch_1", "status": "validating"}))
    found = known(tmp_path, f'[azure]\nbase_url = "{fake.url}/openai/v1/"\n')
    azure = found.open()["azure"]
    body = b'{"model":"azure/ours","messages":[]}'
    line, _ = azure.encode_line("s-t-1", CHAT, "azure/ours", body)
    assert json.loads(line)["url"] == "/chat/completions"
    assert json.loads(line)["body"]["model"] == "ours"
    outcome = await azure.submit(make_intent(), spool)
    await azure.close()
    assert outcome == Accepted("batch_1", "file-1")
    upload, create = (fake.seen("POST", f"/openai/v1/{kind}")[0] for kind in ("files", "batches"))
    for call in (upload, create):
        assert call.headers["api-key"] == "k-1"
        assert "authorization" not in call.headers
    assert b'name="expires_after.seconds"\r\n\r\n1209600' in upload.body
    sent = json.loads(create.body)
    assert sent["endpoint"] == "/chat/completions"
    assert sent["output_expires_after"] == {"seconds": 1_209_600, "anchor": "created_at"}
