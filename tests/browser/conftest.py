"""A suite on the sandbox, and this machine's Chromium in front of its dashboard."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.support.browser.other_site import OtherSite, running_other_site
from tests.support.e2e.suite import Suite, running_suite

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.browser.visitor import Visitor

MakeVisitor = Callable[..., "Visitor"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.long)


# With a file of tests it ends: its event loop would be in the way of other tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        from tests.support.browser.visitor import MISSING, chromium, running_browser
    except ModuleNotFoundError as error:
        _lacking(f"Playwright's client is missing ({error.name}): requirements/browser.lock")
    if chromium() is None:
        _lacking(MISSING)
    with running_browser() as running:
        yield running


def _lacking(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI must have it)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with running_suite(
        tmp_path_factory.mktemp("suite"), POLYBATCH_WEB_LISTEN="127.0.0.1:0"
    ) as suite:
        yield suite


@pytest.fixture
def suite(browser: Browser, shared_suite: Suite) -> Suite:
    """The shared suite with a sandbox that has forgotten everything."""
    shared_suite.reset_sandbox()
    return shared_suite


@pytest.fixture
def key(suite: Suite) -> str:
    """Of an account of its own: what other tests have made is on none of its pages."""
    return suite.new_key(f"browser-{secrets.token_hex(4)}", scope="account")


@pytest.fixture
def other_site() -> Iterator[OtherSite]:
    with running_other_site() as site:
        yield site


@pytest.fixture
def visit(browser: Browser, suite: Suite) -> Iterator[MakeVisitor]:
    """Makes visitors; whatever goes wrong on their pages fails the test."""
    from tests.support.browser.visitor import Visitor

    made: list[Visitor] = []

    def make(base: str = "", **options: Any) -> Visitor:
        made.append(Visitor(browser, base or suite.ready["web"], **options))
        return made[-1]

    yield make
    for visitor in made:
        visitor.context.close()
    assert [each for visitor in made for each in visitor.troubles] == []
