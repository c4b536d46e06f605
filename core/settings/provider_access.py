"""Access to the providers, by the variables of the vendors' own SDKs."""

from __future__ import annotations

import os

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProviderAccess(BaseSettings):
    """Keys and addresses of the providers, under the names that the vendors' SDKs use."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    openai_api_key: SecretStr | None = None
    """OpenAI's key. A provider without a key takes no lines."""
    openai_base_url: str = "https://api.openai.com/v1"
    """Where OpenAI's API is."""
    openai_organization: str | None = Field(default=None, validation_alias="OPENAI_ORG_ID")
    """Organization that is billed, where a key belongs to several."""
    openai_project: str | None = Field(default=None, validation_alias="OPENAI_PROJECT_ID")
    """Project that is billed, likewise."""
    anthropic_api_key: SecretStr | None = None
    """Anthropic's key."""
    anthropic_base_url: str = "https://api.anthropic.com"
    """Where Anthropic's API is."""
    anthropic_betas: str = ""
    """Comma-separated names of beta features, asked for with every call."""

    gemini_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("GEMINI_API_KEY", "GOOGLE_API_KEY")
    )
    """Gemini's key."""
    gemini_base_url: str = Field(
        default="https://generativelanguage.googleapis.com",
        validation_alias=AliasChoices("GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
    )
    """Where Gemini's API is."""

    def secret(self, variable: str) -> str:
        """The key that an environment variable holds; empty if it is not set."""
        keys = {
            "OPENAI_API_KEY": self.openai_api_key,
            "ANTHROPIC_API_KEY": self.anthropic_api_key,
            "GEMINI_API_KEY": self.gemini_api_key,
        }
        if variable not in keys:
            return os.environ.get(variable, "").strip()
        key = keys[variable]
        return key.get_secret_value().strip() if key is not None else ""
