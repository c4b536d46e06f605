"""What all groups of settings share."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsGroup(BaseSettings):
    """Settings that are about one thing, which the first line of the class names.

    docs/settings.md has a section for each group, made of the texts below its fields.
    """

    # An empty variable, as compose files leave them, is one that is not set.
    model_config = SettingsConfigDict(
        env_prefix="POLYBATCH_", env_ignore_empty=True, extra="ignore", frozen=True
    )
