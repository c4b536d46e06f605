"""Servers for single calls in the providers file."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.providers import BadProviderConfig, DirectProvider, KnownProviders, known_providers
from core.providers.plugin import ProviderPlugin
from core.settings import ProviderAccess, Settings
from tests.support.providers.fake_provider import FakeProvider

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"

LOCAL = """
[local]
kind = "openai-direct"
base_url = "http://127.0.0.1:11434/v1"
"""


def known(tmp_path: Path, text: str) -> KnownProviders:
    path = tmp_path / "providers.toml"
    path.write_text(text)
    return known_providers(ProviderAccess(), Settings(providers_file=path))


async def opened(tmp_path: Path, text: str) -> DirectProvider:
    providers = known(tmp_path, text).open_direct()
    (provider,) = providers.values()
    await provider.close()
    return provider


async def test_a_server_at_home_needs_two_lines(tmp_path: Path) -> None:
    found = known(tmp_path, LOCAL)
    assert found.rules["local"] == {CHAT, EMBEDDINGS, "/v1/responses"}
    assert "local" in found.usable
    assert "local" not in found.missing_keys
    assert "local" not in found.open()
    provider = await opened(tmp_path, LOCAL)
    assert provider.name == "local"
    assert provider.limits.max_lines == 5000
    assert provider.call_limits.max_concurrency == 16
    assert provider.call_limits.rerun_lost, "it costs nothing"
    assert provider.remote_model("local/llama3.2:3b") == "llama3.2:3b"


async def test_all_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    [acme]
    kind = "openai-direct"
    base_url = "https://acme.test/v2"
    api_key_env = "ACME_API_KEY"
    auth = "api-key"
    endpoints = ["/v1/embeddings"]
    urls = { "/v1/embeddings" = "/embed" }
    max_concurrency = 3
    requests_per_minute = 90.5
    max_lines = 10
    """
    assert known(tmp_path, text).missing_keys["acme"] == "ACME_API_KEY"
    assert known(tmp_path, text).open_direct() == {}
    monkeypatch.setenv("ACME_API_KEY", "k")
    provider = await opened(tmp_path, text)
    assert provider.limits.endpoints == {EMBEDDINGS}
    assert provider.limits.max_lines == 10
    assert provider.call_limits.max_concurrency == 3
    assert provider.call_limits.requests_per_minute == 90.5
    assert not provider.call_limits.rerun_lost, "a lost answer may have been paid for"
    at_home = await opened(tmp_path, text + "rerun_lost = true")
    assert at_home.call_limits.rerun_lost


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [("bearer", "authorization", "Bearer k-1"), ("api-key", "api-key", "k-1")],
)
async def test_the_key_goes_where_the_server_wants_it(
    fake: FakeProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    auth: str,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv("ACME_API_KEY", "k-1")
    text = LOCAL.replace("http://127.0.0.1:11434", fake.url)
    text += f'api_key_env = "ACME_API_KEY"\nauth = "{auth}"\n'
    (provider,) = known(tmp_path, text).open_direct().values()
    await provider.call("c", CHAT, b"{}")
    await provider.close()
    (call,) = fake.calls
    assert call.headers[name] == value


async def test_no_key_sends_none(fake: FakeProvider, tmp_path: Path) -> None:
    text = LOCAL.replace("http://127.0.0.1:11434", fake.url)
    (provider,) = known(tmp_path, text).open_direct().values()
    await provider.call("c", CHAT, b"{}")
    await provider.close()
    (call,) = fake.seen("POST", "/v1/chat/completions")
    assert not {"authorization", "api-key"} & call.headers.keys()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('kind = "openai-batches"', "kind has to be one of openai-compatible, openai-direct"),
        ("max_concurrency = 0", "max_concurrency: Expected `int` >= 1"),
        ("requests_per_minute = 0", "requests_per_minute: Expected `float` > 0"),
        ('rerun_lost = "no"', "rerun_lost: Expected `bool"),
        ('api_key_env = "sk-1"', "the key itself does not belong in this file"),
        ('endpoints = ["/v1/images"]', "endpoints and urls have to be of"),
        ('completion_window = "24h"', "unknown field `completion_window`"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    text = LOCAL.replace('kind = "openai-direct"\n', "") if "kind" in line else LOCAL
    with pytest.raises(BadProviderConfig) as caught:
        known(tmp_path, f"{text}{line}\n")
    assert message in str(caught.value)
    assert "[local]" in str(caught.value)
    assert "sk-1" not in str(caught.value)


def test_a_plug_in_opens_one_way() -> None:
    with pytest.raises(BadProviderConfig, match="one of open and open_direct"):
        ProviderPlugin(slug="odd", endpoints=frozenset({CHAT}), key_variable="")
