"""The providers, found when a service starts."""

from __future__ import annotations

from core.providers import BadProviderConfig, KnownProviders, known_providers
from core.serving import StartupError
from core.settings import ProviderAccess, Settings


def find_providers(access: ProviderAccess, settings: Settings) -> KnownProviders:
    """All providers of this installation. Raises StartupError if they are set up badly."""
    try:
        return known_providers(access, settings)
    except BadProviderConfig as error:
        raise StartupError(str(error)) from error
