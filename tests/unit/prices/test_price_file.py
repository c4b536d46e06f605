"""A bad prices file says where and what is wrong; a good one is exact."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.prices.price_file import BadPricesFile, parse_price_file

GOOD = '[[price]]\nprovider = "acme"\nmodel = "a"\ninput = 1\noutput = 2\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[price]]\nprovider = acme", "line 2, provider: Invalid value"),
        ("[[price]\n", "line 1, [[price]: "),
        (GOOD + "\ninptu = 3", "line 7, price.inptu: there is no such key. Known are input, "),
        (GOOD + '[[price]]\nprovider = "b"\nmodel = "m"\noutput = "two"', "line 9, price.output: "),
        (GOOD + "[[price]]\ninput = 1", "line 6, price: Object missing required field `provider`"),
        (GOOD + 'processing = "flex"', "line 6, price.processing: Invalid enum value 'flex'"),
        (GOOD + "since = 2026", "line 6, price.since: Expected `date`"),
        (
            GOOD + "since = 2026-02-01\nuntil = 2026-01-31",
            "line 7, price.until: 2026-01-31 is before the first day",
        ),
        (GOOD + "cached_input = -1", "line 6, price.cached_input: -1 is no price"),
        (GOOD + "cached_input = nan", "line 6, price.cached_input: "),
        (GOOD + "reasoning = 0.0000000001", "line 6, price.reasoning: 1E-10 has more than nine"),
        (GOOD + "times = 0.5", "line 6, price.times: a table states either rates or a factor"),
        ('[[price]]\nprovider = "b"', "line 1, price.times: the table states neither"),
        ('[[price]]\nprovider = "b"\ntimes = 0', "line 3, price.times: a factor above 0"),
        ('[[price]]\nprovider = ""\ninput = 1', "line 2, price.provider: Expected `str` of length"),
        (
            GOOD + "above = [\n { prompt_tokens = 5, input = 2 },\n { prompt_tokens = 0 },\n]",
            "line 9, price.above.prompt_tokens: Expected `int` >= 1",
        ),
        (
            GOOD + "above = [{ prompt_tokens = 5, cached_input = 2 }]",
            "line 6, price.above: cached_input needs a rate for shorter prompts",
        ),
        ("[markup]\ndefault = 0.9", "line 2, markup.default: a mark-up is a factor from 1 to 10"),
        ("[markup.accounts]\nacme = 15", "line 2, markup.accounts.acme: a mark-up is a factor"),
        ("[like]\nmine = 3", "line 2, like.mine: 3 is no name of a provider"),
        ("\nprices = []", "line 2, prices: there is no such key. Known are price, like, markup"),
    ],
)
def test_a_bad_file_names_line_and_key(text: str, told: str) -> None:
    with pytest.raises(BadPricesFile) as caught:
        parse_price_file(text, "/data/prices.toml")
    assert str(caught.value).startswith(f"/data/prices.toml, {told}")


def test_numbers_are_read_exactly() -> None:
    file = parse_price_file('[[price]]\nprovider = "a"\ninput = 0.1\nweb_searches = 14', "f")
    # 14 USD a thousand searches.
    assert file.price[0].rates() == {"input": 100_000_000, "web_searches": 14_000_000_000_000}
    assert file.price[0].line == 1


def test_the_example_of_the_documentation_is_a_good_file() -> None:
    page = (Path(__file__).parents[3] / "docs/prices.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example
    file = parse_price_file(example[1], "docs/prices.md")
    assert [each.provider for each in file.price] == ["acme", "openai", "anthropic", "acme"]
    assert file.markup_of("retail") > file.markup_of("another") == 1
