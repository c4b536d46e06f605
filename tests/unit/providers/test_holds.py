"""What a provider asked for, by credential and by the wall clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.providers import Hold, Holds, known_providers
from core.settings import ProviderAccess, Settings


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_the_later_of_two_holds_counts_until_it_is_over() -> None:
    clock = Clock()
    holds = Holds(clock)
    assert holds.learn(Hold("acme", "k", 1030.0))
    assert not holds.learn(Hold("acme", "k", 1020.0))
    assert not holds.learn(Hold("acme", "k", 1030.0))
    assert holds.of("acme", "k").left == 30.0
    assert holds.of("acme", "other").left == 0.0
    assert holds.of("other", "k").left == 0.0
    clock.at = 1030.0
    assert holds.of("acme", "k").until == 0.0


def test_only_what_is_news_is_passed_on() -> None:
    told: list[Hold] = []
    holds = Holds(Clock())
    holds.on_told = told.append
    hold = holds.of("acme", "k")
    hold.note(10.0)
    hold.note(5.0)
    hold.note(0.0)
    holds.learn(Hold("acme", "k", 2000.0))
    assert told == [Hold("acme", "k", 1010.0)]
    assert str(hold) == "the provider asked for no call before 1970-01-01 00:33:20 UTC"


def test_adapters_of_one_process_share_their_holds() -> None:
    """And those of another key do not: that of the credential is its name."""
    access = ProviderAccess.model_validate({"openai_api_key": "k1"})
    known = known_providers(access, Settings())
    known.holds.of("openai", known.credentials["openai"]).note(60.0)
    provider = known.open()["openai"]
    assert provider._http._pacing._hold.left > 0  # type: ignore[attr-defined]
    other = known_providers(ProviderAccess.model_validate({"openai_api_key": "k2"}), Settings())
    assert other.open()["openai"]._http._pacing._hold.left == 0  # type: ignore[attr-defined]


def test_providers_with_one_key_at_one_address_hold_back_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (
        'kind = "openai-compatible"\nbase_url = "http://localhost:1/v1"\n'
        'api_key_env = "{}"\nendpoints = ["/v1/chat/completions"]\n'
    )
    tables = {"first": "KEY_1", "second": "KEY_1", "third": "KEY_2"}
    file = tmp_path / "providers.toml"
    file.write_text("".join(f"[{slug}]\n{one.format(key)}" for slug, key in tables.items()))
    for key in set(tables.values()):
        monkeypatch.setenv(key, key.lower())
    opened = known_providers(ProviderAccess(), Settings(providers_file=file)).open()
    hold = {slug: provider._http._pacing._hold for slug, provider in opened.items()}  # type: ignore[attr-defined]
    hold["second"].note(60.0)
    assert hold["first"].left > 0
    assert hold["third"].left == 0
