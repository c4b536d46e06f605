"""What a provider asked for, by credential and by the wall clock."""

from __future__ import annotations

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
    hold.told(10.0)
    hold.told(5.0)
    hold.told(0.0)
    holds.learn(Hold("acme", "k", 2000.0))
    assert told == [Hold("acme", "k", 1010.0)]
    assert str(hold) == "the provider asked for no call before 1970-01-01 00:33:20 UTC"


def test_adapters_of_one_process_share_their_holds() -> None:
    """And those of another key do not: that of the credential is its name."""
    access = ProviderAccess.model_validate({"openai_api_key": "k1"})
    known = known_providers(access, Settings())
    known.holds.of("openai", known.credentials["openai"]).told(60.0)
    provider = known.open()["openai"]
    assert provider._http._hold.left > 0  # type: ignore[attr-defined]
    other = known_providers(ProviderAccess.model_validate({"openai_api_key": "k2"}), Settings())
    assert other.open()["openai"]._http._hold.left == 0  # type: ignore[attr-defined]
