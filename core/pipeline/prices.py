"""The operator's prices, found when a service starts."""

from __future__ import annotations

from core.prices.price_file import BadPricesFile, PriceFile, read_price_file
from core.serving import StartupError
from core.settings import Settings


def find_prices(settings: Settings) -> PriceFile:
    """The prices file; an empty one where there is none. Raises StartupError if it is bad.

    The default place may be empty; a place that was named must not be.
    """
    path = settings.effective_prices_file
    try:
        return read_price_file(path, required=settings.prices_file is not None)
    except BadPricesFile as error:
        raise StartupError(f"the prices file cannot be used: {error}") from error
