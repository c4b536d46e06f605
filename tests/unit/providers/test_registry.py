"""Which providers there are, how they are reached, and their checks at upload."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from core import endpoints
from core.endpoints import RESPONSES
from core.providers import BadProviderConfig, KnownProviders, known_providers, registry
from core.providers.anthropic.adapter import VERSION
from core.settings import ProviderAccess, Settings
from tests.support.providers.fake_provider import FakeProvider

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    monkeypatch.delenv("POLYBATCH_PROVIDERS_FILE", raising=False)
    monkeypatch.setenv("POLYBATCH_DATA_DIR", str(tmp_path / "data"))


def known(**values: str) -> KnownProviders:
    return known_providers(ProviderAccess(**values), Settings())  # type: ignore[arg-type]


def test_rules_of_all_known_providers() -> None:
    assert known().rules == {
        "openai": endpoints.OPENAI,
        "anthropic": frozenset({CHAT, RESPONSES, endpoints.MESSAGES}),
        "gemini": frozenset({CHAT, EMBEDDINGS, RESPONSES, endpoints.GENERATE_CONTENT}),
    }


LOCAL = """
[local]
kind = "openai-direct"
base_url = "http://localhost:8000/v1"
"""
TEAM = LOCAL.replace("[local]", "[team]") + 'models = ["qwen-*", "gpt-4.1-mini"]\n'


def test_a_model_of_several_is_that_of_whoever_has_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "providers.toml").write_text(TEAM)
    monkeypatch.setenv("POLYBATCH_PROVIDERS_FILE", str(tmp_path / "providers.toml"))
    assert list(known().infer("gpt-4.1-mini", CHAT)) == ["team"]


@pytest.mark.parametrize(
    ("model", "url", "file", "expected"),
    [
        ("gpt-4.1-mini", CHAT, "", ["openai"]),
        ("o3", CHAT, "", ["openai"]),
        ("text-embedding-3-small", endpoints.EMBEDDINGS, "", ["openai"]),
        ("ft:gpt-4.1:acme::x", CHAT, "", ["openai"]),
        ("gpt-7-not-known-yet", CHAT, "", ["openai"]),
        ("claude-sonnet-4-5", CHAT, "", ["anthropic"]),
        ("Claude-Unknown", CHAT, "", ["anthropic"]),
        ("gemini-2.5-pro", CHAT, "", ["gemini"]),
        ("models/gemini-9-flash", CHAT, "", ["gemini"]),
        ("mistral-small-latest", CHAT, "", []),
        ("mistral-small-latest", CHAT, "[mistral]", ["mistral"]),
        ("gpt-oss-20b", CHAT, "", []),
        ("gpt-oss-20b", CHAT, LOCAL, ["local"]),
        # Whoever says what it serves is not asked for anything else.
        ("gpt-oss-20b", CHAT, TEAM, []),
        ("qwen-3", CHAT, TEAM + LOCAL, ["team"]),
        ("gpt-oss-20b", CHAT, LOCAL + LOCAL.replace("local]", "other]"), ["local", "other"]),
        ("gpt-4.1-mini", CHAT, TEAM, ["openai", "team"]),
        # Of several, those that have the endpoint.
        ("gpt-4.1-mini", endpoints.MODERATIONS, TEAM, ["openai"]),
    ],
)
def test_whose_model_it_is(
    model: str,
    url: str,
    file: str,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "providers.toml").write_text(file)
    monkeypatch.setenv("POLYBATCH_PROVIDERS_FILE", str(tmp_path / "providers.toml"))
    found = known(openai_api_key="sk-1", anthropic_api_key="sk-2")
    assert list(found.infer(model, url)) == expected


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({}, set()),
        ({"openai_api_key": " "}, set()),
        ({"openai_api_key": "sk-1"}, {"openai"}),
        ({"anthropic_api_key": "sk-2"}, {"anthropic"}),
        ({"openai_api_key": "sk-1", "gemini_api_key": "AIza"}, {"openai", "gemini"}),
    ],
)
async def test_providers_with_a_key_are_opened(keys: dict[str, str], names: set[str]) -> None:
    found = known(**keys)
    assert set(found.usable) == names
    assert found.missing_keys == {
        name: f"{name.upper()}_API_KEY" for name in found.rules if name not in names
    }
    providers = found.open()
    assert providers.keys() == names
    for name, provider in providers.items():
        assert provider.name == name
        assert provider.limits.endpoints == found.rules[name]
        await provider.close()


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"GEMINI_API_KEY": "own"}, "own"),
        ({"GOOGLE_API_KEY": "theirs"}, "theirs"),
        ({"GEMINI_API_KEY": "own", "GOOGLE_API_KEY": "theirs"}, "own"),
    ],
)
def test_googles_key_has_two_names(
    variables: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ProviderAccess().secret("GEMINI_API_KEY") == key


@pytest.mark.parametrize("key", ["two words", "new\nline", "ключ"])
def test_an_unusable_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(BadProviderConfig, match="OPENAI_API_KEY is not a usable") as caught:
        known(openai_api_key=key)
    assert key not in str(caught.value)


async def test_what_is_sent_to_prove_who_asks(fake: FakeProvider) -> None:
    providers = known(
        openai_api_key=" sk-1\n",
        openai_base_url=f"{fake.url}/v1/",
        OPENAI_ORG_ID="org-1",
        OPENAI_PROJECT_ID="proj-1",
        anthropic_api_key="sk-2",
        anthropic_base_url=fake.url,
        gemini_api_key="AIza-3",
        gemini_base_url=fake.url,
    ).open()
    for provider in providers.values():
        with pytest.raises(Exception, match="no such thing"):
            await provider.poll("batch/../1?x")
        await provider.close()
    first, second, third = fake.calls
    assert first.path == "/v1/batches/batch/../1?x"
    assert first.headers["authorization"] == "Bearer sk-1"
    assert first.headers["openai-organization"] == "org-1"
    assert first.headers["openai-project"] == "proj-1"
    assert second.path == "/v1/messages/batches/batch/../1?x"
    assert second.headers["x-api-key"] == "sk-2"
    assert second.headers["anthropic-version"] == VERSION
    assert "authorization" not in second.headers
    assert third.path == "/v1beta/batch/../1?x"
    assert third.headers["x-goog-api-key"] == "AIza-3"


BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":5}'


@pytest.mark.parametrize(
    ("provider", "model"), [("anthropic", "claude-opus-5"), ("gemini", "gemini-3.8-flash")]
)
def test_checks_tell_what_a_translation_drops(provider: str, model: str) -> None:
    check = known().checks[provider]
    assert not check(CHAT, model, BODY)
    (note,) = check(CHAT, model, BODY.replace(b'"max', b'"store":true,"max'))
    assert (note.field, note.reason, note.weight) == ("body.store", "ignored", "harmless")


def test_a_check_of_embeddings() -> None:
    check = known().checks["gemini"]
    assert not check(EMBEDDINGS, "gemini-embedding-001", b'{"model":"m","input":"x"}')
    (note,) = check(EMBEDDINGS, "gemini-embedding-001", b'{"model":"m","input":["x","y"]}')
    assert (note.field, note.weight) == ("body.input", "refused")


@pytest.mark.parametrize(
    ("provider", "model"),
    [("anthropic", b"anthropic/claude-4.5-sonnet"), ("gemini", b"gemini/gemini-3.8-flash")],
)
def test_requests_of_the_common_kind_pass_unchecked(provider: str, model: bytes) -> None:
    plain = known().plain[provider]
    body = BODY.replace(b'"m"', b'"%b"' % model)
    assert plain.check(msgspec.json.decode(body, type=plain.body)) == ()
    silent = body.replace(b',"max_tokens":5', b"")
    assert plain.check(msgspec.json.decode(silent, type=plain.body)) is None


ADAPTER = """
    from core.providers import ProviderPlugin
    from core.providers.http.client import ProviderHttp
    from core.providers.openai.adapter import OpenAIProvider

    def open_acme(opening):
        headers = {"authorization": "Bearer " + opening.key}
        http = ProviderHttp(
            "https://acme.test", headers, secret=opening.key, timeout=opening.timeout
        )
        return OpenAIProvider(http, settle=opening.settle)

    acme = ProviderPlugin(
        slug="acme",
        endpoints=frozenset({"/v1/chat/completions"}),
        key_variable="ACME_API_KEY",
        open=open_acme,
    )
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for packages, as pip would lay them out; gives it."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return place


def package(place: Path, name: str, source: str, target: str = "acme") -> None:
    (place / f"{name}.py").write_text(dedent(source))
    about = place / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[polybatch.providers]\nacme = {name}:{target}\n")


async def test_a_package_brings_its_own_provider(
    install: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(install, "polybatch_acme", ADAPTER)
    assert known().rules["acme"] == frozenset({CHAT})
    assert known().missing_keys["acme"] == "ACME_API_KEY"
    monkeypatch.setenv("ACME_API_KEY", "acme-key")
    providers = known().open()
    assert providers.keys() == {"acme"}
    await providers["acme"].close()


def test_what_is_installed_is_looked_through_once(
    install: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(*, group: str) -> EntryPoints:
        looks.append(group)
        return entry_points(group=group)

    monkeypatch.setattr(registry, "entry_points", look)
    package(install, "polybatch_acme", ADAPTER)
    for _ in range(2):
        assert "acme" in known().rules
    assert looks == [registry.ENTRY_POINT_GROUP]
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(install)])
    assert "acme" not in known().rules


@pytest.mark.parametrize(
    ("name", "source", "target", "message"),
    [
        ("polybatch_broken", "raise OSError('no disk')", "acme", "cannot be loaded: OSError"),
        ("polybatch_missing", ADAPTER, "nothing", "cannot be loaded: AttributeError"),
        ("polybatch_odd", "acme = 1", "acme", "is a int, expected a core.providers.Provider"),
        (
            "polybatch_twice",
            ADAPTER.replace('slug="acme"', 'slug="openai"'),
            "acme",
            "two providers of the name 'openai'",
        ),
    ],
)
def test_a_package_that_is_no_provider_is_named(
    install: Path, name: str, source: str, target: str, message: str
) -> None:
    package(install, name, source, target)
    with pytest.raises(BadProviderConfig, match=message):
        known()
