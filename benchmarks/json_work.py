"""A program: only the JSON work of a job, with the functions that the services use.

    python -m benchmarks.json_work INPUT ANSWERS_FOLDER RESULTS

In one thread: take each line apart, put it into its provider's form, read each answer,
write each result line. What is read is in memory before the clock starts. Prints seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydantic import SecretStr

from benchmarks.inputs import MODELS, provider_of
from core.batchfile import answer_line, decode_request
from core.providers import Provider, ResultLine, known_providers
from core.providers.anthropic.translation import read_line
from core.providers.openai.rows import read_row
from core.settings import ProviderAccess, Settings

_BATCH_ID = "batch_00000000000000000000"
_PREFIX = "shard_00000000000000000000-00000000-"
_CREATED = 1_700_000_000

Reader = Callable[[bytes], ResultLine]


def work(
    lines: Iterable[bytes],
    answers: Iterable[tuple[Reader, Iterable[bytes]]],
    providers: Mapping[str, Provider],
    out: BinaryIO,
) -> None:
    """Do it."""
    custom_ids: list[str] = []
    models: list[str] = []
    for number, raw in enumerate(lines, start=1):
        request = decode_request(raw)
        slug = provider_of(number)
        providers[slug].encode_line(
            f"{_PREFIX}{number}", request.url, MODELS[slug], bytes(request.body)
        )
        custom_ids.append(request.custom_id)
        models.append(MODELS[slug])
    for read, rows in answers:
        for row in rows:
            result = read(row)
            number = int(result.custom_id.rpartition("-")[2])
            out.write(
                answer_line(
                    _BATCH_ID,
                    number,
                    custom_ids[number - 1],
                    result.response,
                    result.error,
                    model=models[number - 1],
                )
            )
            out.write(b"\n")


def main() -> None:
    """Read everything, then work against the clock."""
    source, folder, target = map(Path, sys.argv[1:])
    nobody = SecretStr("none")
    access = ProviderAccess(openai_api_key=nobody, anthropic_api_key=nobody)
    providers = known_providers(access, Settings()).open()
    lines = source.read_bytes().splitlines()
    answers: list[tuple[Reader, list[bytes]]] = [
        (read_row, (folder / "openai.jsonl").read_bytes().splitlines()),
        (
            partial(read_line, created=_CREATED),
            (folder / "anthropic.jsonl").read_bytes().splitlines(),
        ),
    ]
    with target.open("wb") as out:
        begun = time.perf_counter()
        work(lines, answers, providers, out)
        out.flush()
        seconds = time.perf_counter() - begun
    if sum(len(rows) for _, rows in answers) != len(lines):
        sys.exit("the answers are not those of the file")
    print(seconds)


if __name__ == "__main__":
    main()
