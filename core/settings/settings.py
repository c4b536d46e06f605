"""Every setting of the services, each with its default and its meaning in the file of its group.

All are environment variables. Those of polybatch carry the prefix POLYBATCH_;
provider access uses the variables of the vendors' own SDKs.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from core.settings.limits import AccountLimits, ProcessLimits, UploadSettings
from core.settings.listening import ListenSettings, TlsSettings
from core.settings.provider_access import ProviderAccess
from core.settings.stores import StoreSettings
from core.settings.work import (
    MoneySettings,
    ProviderSettings,
    ServiceSettings,
    WebhookSettings,
    WorkSettings,
)


class Settings(
    StoreSettings,
    ListenSettings,
    TlsSettings,
    ProviderSettings,
    MoneySettings,
    UploadSettings,
    AccountLimits,
    ProcessLimits,
    WorkSettings,
    WebhookSettings,
    ServiceSettings,
):
    """Settings of polybatch itself. Sizes in bytes, times in seconds."""

    @cached_property
    def effective_providers_file(self) -> Path:
        """The providers file with its default filled in."""
        return self.providers_file or self.data_dir.absolute() / "providers.toml"

    @cached_property
    def effective_prices_file(self) -> Path:
        """The prices file with its default filled in."""
        return self.prices_file or self.data_dir.absolute() / "prices.toml"


def read_settings() -> tuple[Settings, ProviderAccess]:
    """Read the environment.

    Raises SystemExit with the settings that cannot be used, a line each: whoever starts a
    program is to read that, and no traceback.
    """
    try:
        return Settings(), ProviderAccess()
    except ValidationError as error:
        # Without the values: one of them may be a secret.
        lines = [
            f"{'_'.join(['POLYBATCH', *map(str, each['loc'])]).upper()}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise SystemExit("\n".join(["unusable settings:", *lines])) from None
