"""Models: the names that people use for them, and what the adapters must know of each.

The data is models.toml beside this file; its head says how to add a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import msgspec

Effort = Literal["low", "medium", "high", "xhigh", "max"]


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of a provider. The defaults are those of a model that is not listed."""

    id: str
    family: str = ""
    version: str = ""
    aliases: tuple[str, ...] = ()
    max_output: int | None = None
    """Most tokens of one answer; None where it is not known."""
    sampling: bool = True
    structured: bool = True
    forced_tools: bool = True
    prefill: bool = True
    thinking: Literal["budget", "effort"] = "effort"
    efforts: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
    no_thinking: Literal["omitted", "disabled", "between_tools", ""] = "omitted"

    def names(self) -> set[str]:
        """All names of the model, in lower case, without a provider prefix."""
        names = {self.id, *self.aliases}
        if self.family:
            for version in {self.version, self.version.replace(".", "-")}:
                names |= {f"claude-{self.family}-{version}", f"claude-{version}-{self.family}"}
        return {name.lower() for name in names}


class Catalogue:
    """The models of all providers."""

    def __init__(self, models: Mapping[str, Iterable[Model]]) -> None:
        self._models = {
            provider: {name: model for model in listed for name in model.names()}
            for provider, listed in models.items()
        }

    def model(self, provider: str, name: str) -> Model:
        """The model that a user's name means; an unlisted one has the name as its id.

        `name` may carry the provider as a prefix ("anthropic/claude-4.5-sonnet").
        """
        bare = name.removeprefix(f"{provider}/")
        listed = self._models.get(provider, {}).get(bare.lower())
        return listed if listed is not None else Model(id=bare)


def load() -> Catalogue:
    """Read models.toml."""
    text = files("core.providers").joinpath("models.toml").read_bytes()
    return Catalogue(msgspec.toml.decode(text, type=dict[str, list[Model]]))


CATALOGUE = load()


@lru_cache(maxsize=4096)
def find_model(provider: str, name: str) -> Model:
    """CATALOGUE.model, remembered: it is asked for every line."""
    return CATALOGUE.model(provider, name)
