"""The settings: the only place that reads environment variables."""

from core.settings.settings import ProviderAccess, Settings, read_settings
from core.settings.tracing import TracingSettings

__all__ = ["ProviderAccess", "Settings", "TracingSettings", "read_settings"]
