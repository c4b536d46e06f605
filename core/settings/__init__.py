"""The settings: the only place that reads environment variables."""

from core.settings.provider_access import ProviderAccess
from core.settings.settings import Settings, read_settings
from core.settings.tracing import TracingSettings

__all__ = ["ProviderAccess", "Settings", "TracingSettings", "read_settings"]
