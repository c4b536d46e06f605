"""Models: the names that people use for them, and what the adapters must know of each.

The data is models.toml beside this file; its head says how to add a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import msgspec

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_FINE_TUNED = "ft:"
_RESOURCE = "models/"


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True):
    """One model of a provider. models.toml says what each field means.

    The defaults, but for `endpoints`, are those of a model that is not listed.
    """

    id: str
    aliases: tuple[str, ...] = ()
    family: str = ""
    version: str = ""
    endpoints: tuple[str, ...] = ("/v1/chat/completions",)
    """Empty: not known, as the model is not listed."""
    batch: bool = True
    retired: bool = False
    max_output: int | None = None
    """Most tokens of one answer; None where it is not known."""
    sampling: bool = True
    structured: bool = True
    prefill: bool = True
    forced_tools: bool = True
    forced_while_thinking: bool = True
    thinking: Literal["budget", "effort"] = "effort"
    efforts: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    no_thinking: Literal["omitted", "disabled", "between_tools", ""] = "omitted"
    reasons: bool = False
    effort: Effort = "medium"
    stops: bool = True
    tools_while_reasoning: bool = True

    @property
    def listed(self) -> bool:
        """Whether the catalogue has it."""
        return bool(self.endpoints)

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
        """Raises ValueError where two models of a provider share a name."""
        self._models: dict[str, dict[str, Model]] = {}
        for provider, listed in models.items():
            names = self._models.setdefault(provider, {})
            for model in listed:
                for name in model.names():
                    if name in names:
                        raise ValueError(f"models.toml: {provider} has two models {name!r}")
                    names[name] = model

    def knows(self, provider: str) -> bool:
        """Whether it has models of a provider."""
        return provider in self._models

    def ids(self, provider: str) -> list[str]:
        """Ids of the models of a provider that batches can be run with."""
        models = self._models.get(provider, {}).values()
        return sorted({model.id for model in models if model.batch and not model.retired})

    def listed_id(self, provider: str, name: str) -> str:
        """The id of the listed model that a user's name means; empty: there is none."""
        found = self.model(provider, name)
        # A fine-tuned model is as a listed one, under an id of its own.
        return found.id if found.listed and not found.id.startswith(_FINE_TUNED) else ""

    def model(self, provider: str, name: str) -> Model:
        """The model that a user's name means; an unlisted one has the name as its id.

        `name` may carry the provider as a prefix ("anthropic/claude-4.5-sonnet"), and be
        the name of a resource, as Gemini's SDK has it ("models/gemini-2.5-pro"). A fine-tuned
        model ("ft:gpt-4.1:org::id") is as the model that it was made of.
        """
        bare = name.removeprefix(f"{provider}/")
        if provider == "gemini":
            bare = bare.removeprefix(_RESOURCE)
        names = self._models.get(provider, {})
        listed = names.get(bare.lower())
        if listed is not None:
            return listed
        if bare.startswith(_FINE_TUNED):
            base = names.get(bare.split(":")[1].lower())
            if base is not None:
                return msgspec.structs.replace(base, id=bare)
        return Model(id=bare, endpoints=())


def load() -> Catalogue:
    """Read models.toml."""
    text = files("core.providers").joinpath("models.toml").read_bytes()
    return Catalogue(msgspec.toml.decode(text, type=dict[str, list[Model]]))


CATALOGUE = load()


@lru_cache(maxsize=4096)
def find_model(provider: str, name: str) -> Model:
    """CATALOGUE.model, remembered: it is asked for every line."""
    return CATALOGUE.model(provider, name)
