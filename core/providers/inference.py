"""Whose model it is, where a file names a model and no provider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from core.providers.catalogue import CATALOGUE, find_model
from core.providers.plugin import ProviderPlugin


def providers_of(model: str, url: str, plugins: Iterable[ProviderPlugin]) -> Sequence[str]:
    """Slugs of the providers that a model may be meant of: none, one, or several.

    Those that list the model come first; then those whose names are of its pattern; then
    those that say nothing of their models. Of several, only those that have the endpoint.
    """
    plugins = list(plugins)
    for found in (
        [plugin for plugin in plugins if _lists(plugin, model)],
        [plugin for plugin in plugins if _matches(plugin, model)],
        [plugin for plugin in plugins if not plugin.models],
    ):
        if found:
            fit = [plugin for plugin in found if url in plugin.endpoints]
            return [plugin.slug for plugin in fit or found]
    return ()


def _lists(plugin: ProviderPlugin, model: str) -> bool:
    if model in plugin.models:
        return True
    # A fine-tuned model is listed as the one that it was made of.
    return CATALOGUE.knows(plugin.slug) and find_model(plugin.slug, model).listed


def _matches(plugin: ProviderPlugin, model: str) -> bool:
    return any(fnmatchcase(model.lower(), pattern.lower()) for pattern in plugin.models)
