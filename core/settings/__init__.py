"""The settings: the only place that reads environment variables."""

from core.settings.settings import ProviderAccess, Settings

__all__ = ["ProviderAccess", "Settings"]
