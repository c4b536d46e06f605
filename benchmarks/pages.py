"""The dashboard: how long after a commit each of many open pages of one web replica shows it."""

from __future__ import annotations

from http.cookies import SimpleCookie

import httpx2

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.machine import peak_memory
from benchmarks.options import Options
from benchmarks.suite import Suite, running_suite
from benchmarks.watchers import Stage, backbone_of, followed

_SHARDS = 8
_PEOPLE = 50
_ACCOUNT = "default"


async def measure(options: Options) -> list[Figure]:
    """All pages on one batch; then all on the list of batches."""
    figures: list[Figure] = []
    async with (
        running_suite(options.folder / "pages") as suite,
        backbone_of(suite) as runtime,
    ):
        stage = await Stage.prepare(suite, runtime)
        # Each has a key of the account that everything belongs to.
        accounts = runtime.ledger.accounts
        keys = [(await accounts.create_key(_ACCOUNT)).secret for _ in range(_PEOPLE)]
        cookies = [await signed_in(suite, key) for key in keys]
        count = options.pages
        for name, listed in (("of one batch", False), ("of the list of batches", True)):
            batch = await stage.batch(_SHARDS)
            path = "/events" if listed else f"/batches/{batch}/events"
            pages = [(path, batch, cookies[number % _PEOPLE]) for number in range(count)]
            figures += await followed(
                f"{count} open pages {name}, of {_PEOPLE} people",
                [batch],
                stage.one,
                "benchmarks.page_watching",
                {"web": suite.web, "pages": pages},
            )
        memory = peak_memory(suite.pids["web"]) / 1e6
    return [
        *figures,
        Figure(f"memory of web with {count} open pages", memory, "MB"),
    ]


async def signed_in(suite: Suite, key: str) -> str:
    """The cookie of a session with a key."""
    async with httpx2.AsyncClient(base_url=suite.web) as client:
        answer = await client.post("/sign-in", data={"key": key})
    cookies = SimpleCookie(answer.headers.get("set-cookie", ""))
    if not cookies:
        raise MeasurementFailed(f"signing in was answered with {answer.status_code}")
    return "; ".join(f"{name}={each.value}" for name, each in cookies.items())
