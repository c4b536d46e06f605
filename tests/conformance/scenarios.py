"""What happens to a client that runs a batch, and what it has to do then.

The table of README.md says both for each scenario, in the order of `SCENARIOS` (in run.py).
"""

from __future__ import annotations

import re

import grpc
import trustme
from polybatch import BatchState

from tests.conformance.calls import DOWNLOAD, UPLOAD, WATCH
from tests.conformance.cell import Cell, chat, embedding
from tests.conformance.judging import check_resumed, check_watched_on, gaps_after_refusals, shown
from tests.conformance.signals import check
from tests.support.client.fault import Fault

MIB = 1024 * 1024
MINUTE = 60.0
ROUNDED = 1.0
"""Seconds by which gRPC may round a deadline up on its way."""
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
AT_ONCE = 0.095
"""Seconds: the shortest of the usual waits before a repetition is 0.1 s."""


def mixed(count: int = 6) -> list[dict[str, object]]:
    """Lines for two providers."""
    return [chat(("openai", "anthropic")[n % 2], n) for n in range(count)]


def long(mib: int) -> list[dict[str, object]]:
    """Lines that fill so many MiB."""
    return [chat("openai", n, "x" * (MIB // 8 - 300)) for n in range(8 * mib)]


async def main_job(cell: Cell) -> None:
    """Nothing happens. Where the services are, and the key, the data folder says."""
    await cell.open()
    cell.connect_by_folder()
    program = await cell.start([cell.write(mixed()), str(cell.results)], {})
    batch = await cell.finished(program, 0)
    program.says(f"{batch.id}: Completed (completed), 100 %, 6 of 6 lines")


async def wrong_usage(cell: Cell) -> None:
    """An option that there is not, and a file that is not there."""
    await cell.open()
    requests = cell.write(mixed())
    for arguments in (["--no-such-option", requests], [str(cell.folder / "none.jsonl")]):
        program = await cell.submit(*arguments)
        await program.exits(2)
        check(program.stderr != "", "nothing was said on stderr")
        check(not program.stdout, f"stdout is {program.stdout[:200]!r}, and should be empty")
    check(not cell.proxy.calls, "calls were made")
    cell.check_nothing_written()


async def upload_breaks(cell: Cell) -> None:
    """With a status first, then with the connection."""
    await cell.open()
    requests = cell.write(long(6))
    cell.proxy.fail(UPLOAD, Fault(after_bytes=2 * MIB), Fault(after_bytes=2 * MIB, hold=True))
    program = await cell.submit(requests)
    await cell.until(lambda: any(call.held for call in cell.proxy.calls), "the second break")
    await cell.proxy.shut("gateway-1")
    await cell.proxy.open("gateway-1")
    batch = await cell.finished(program, 0)
    check(len(cell.proxy.of(UPLOAD)) == 3, f"{len(cell.proxy.of(UPLOAD))} streams, not 3")
    await check_resumed(cell, batch)


async def upload_answer_lost(cell: Cell) -> None:
    """Of each call that makes a file or a batch, once."""
    await cell.open()
    for method in ("SubmitBatch", "UploadFile", "CreateBatch"):
        cell.proxy.fail({method}, Fault(after_work=True))
    requests = cell.write(long(1))
    batch = await cell.finished(await cell.submit(requests), 0)
    check(len(cell.proxy.of(UPLOAD)) > 1, "the upload was not sent again")
    await check_resumed(cell, batch)
    made = cell.proxy.of({"SubmitBatch", "CreateBatch"})
    ids = {call.fields.get("request_id") for call in made}
    check(len(made) > 1 and len(ids) == 1 and None not in ids, f"the request ids are {ids}")


async def watch_breaks(cell: Cell) -> None:
    """After a snapshot, and with OK as if it had ended."""
    await cell.open()
    async with cell.held() as provider:
        cell.proxy.fail(WATCH, Fault(after_messages=1), Fault(end_with_ok=True))
        program = await cell.submit(cell.write([chat(provider, n) for n in range(4)]))
        await cell.until(lambda: len(cell.proxy.of(WATCH)) > 2, "the third watch")
        await cell.stand.release(provider)
        await cell.finished(program, 0)
    check_watched_on(cell)


async def download_breaks(cell: Cell) -> None:
    """After some bytes, and with OK as if that were all."""
    await cell.open()
    cell.proxy.fail(DOWNLOAD, Fault(after_bytes=1), Fault(after_bytes=1, end_with_ok=True))
    program = await cell.submit(cell.write(embedding(n) for n in range(40)))
    await cell.finished(program, 0)
    downloads = cell.proxy.of(DOWNLOAD)
    check(len(downloads) == 3, f"{len(downloads)} downloads, not 3")
    received, revision = 0, 0
    for call in downloads:
        offset, asked = call.fields["offset"], call.fields["results_revision"]
        check(offset == received, f"offset {offset:,} after {received:,} bytes")
        check(asked == revision, f"results_revision {asked} where the header had {revision}")
        received += call.bytes_down
        revision = call.revisions[0]
        check(call.bytes_down > 0, "a download brought nothing")


async def replica_gone(cell: Cell) -> None:
    """The first address refuses; during the watch it comes up, and the second one dies."""
    await cell.open(replicas=2, closed=1)
    async with cell.held() as provider:
        program = await cell.submit(cell.write([chat(provider, n) for n in range(4)]))
        await program.until_says("In Progress")
        await cell.proxy.open("gateway-1", "collector-1")
        await cell.proxy.shut("gateway-2", "collector-2")
        await cell.until(lambda: bool(cell.proxy.of(WATCH, "collector-1")), "a watch there")
        await cell.stand.release(provider)
        await cell.finished(program, 0)
    check_watched_on(cell, dropped=True)


async def server_draining(cell: Cell) -> None:
    """Upload, watch and download are each told that the server stops."""
    await cell.open()
    stopping = Fault(reason="SERVER_STOPPING")
    async with cell.held() as provider:
        cell.proxy.fail(UPLOAD, stopping)
        cell.proxy.fail(WATCH, *[Fault(reason="SERVER_STOPPING", after_messages=1)], stopping)
        cell.proxy.fail(DOWNLOAD, stopping)
        program = await cell.submit(cell.write([chat(provider, n) for n in range(4)]))
        await cell.until(lambda: len(cell.proxy.of(WATCH)) > 2, "the third watch")
        await cell.stand.release(provider)
        await cell.finished(program, 0)
    gaps = gaps_after_refusals(cell)
    check(len(gaps) >= 4, f"{len(gaps)} repetitions, not 4")
    # One is enough: a machine that is busy delays some, but nobody who waits is ever so fast.
    check(min(gaps) < AT_ONCE, f"the repetitions came after {shown(gaps)} s, and none at once")


async def told_to_wait(cell: Cell) -> None:
    """Upload, watch and download are each told to wait for a second."""
    await cell.open()
    for methods in (UPLOAD, WATCH, DOWNLOAD):
        cell.proxy.fail(methods, Fault(EXHAUSTED, reason="OPEN_STREAMS_LIMIT", retry_after=1.0))
    await cell.finished(await cell.submit(cell.write(mixed())), 0)
    gaps = gaps_after_refusals(cell)
    check(len(gaps) == 3, f"{len(gaps)} repetitions, not 3")
    check(min(gaps) > 0.99, f"the repetitions came after {shown(gaps)} s, told was 1 s")


async def key_revoked(cell: Cell) -> None:
    """By the account's owner, during the watch."""
    await cell.open()
    async with cell.held() as provider:
        program = await cell.submit(cell.write([chat(provider, n) for n in range(4)]))
        await program.until_says("In Progress")
        await cell.judge.keys.revoke(cell.key.key.id)
        await program.exits(1)
        program.says("(API_KEY_REVOKED)")
        cell.check_nothing_written()
        last = cell.proxy.calls[-1]
        check(
            last.method in WATCH and last.status == "UNAUTHENTICATED (API_KEY_REVOKED)",
            f"the last call is {last.method}: {last.status}, not the watch that was ended",
        )
        await cell.judge.cancel_batch((await cell.made()).id)


async def unknown_end(cell: Cell) -> None:
    """In a state of a later version than the client, which is no break and no state to wait in."""
    await cell.open()
    cell.proxy.completed_state = 99
    program = await cell.submit(cell.write(mixed()))
    await cell.finished(program, 4)
    ends = [call for call in cell.proxy.of(WATCH) if call.status == "OK"]
    check(len(ends) == 2, f"{len(ends)} watches ended with OK, not 2")
    check(not ends[1].revisions, f"the second one showed the revisions {ends[1].revisions}")


BAD = {2: "", 4: "body.n", 5: "body.messages"}
"""Lines that are bad, and in which field; empty: as a whole."""


def bad_lines_of() -> list[dict[str, object] | str]:
    """Six lines, three of them bad."""
    lines: list[dict[str, object] | str] = [*mixed()]
    lines[1] = "not json"
    lines[3] = chat("anthropic", 3) | {"body": chat("anthropic", 3)["body"] | {"n": 2}}
    body = {k: v for k, v in chat("openai", 4)["body"].items() if k != "messages"}
    lines[4] = chat("openai", 4) | {"body": body}
    return lines


async def bad_lines(cell: Cell) -> None:
    """Three lines are bad, one of them only as its provider lacks something."""
    await cell.open()
    requests = cell.write(bad_lines_of())
    refused = await cell.submit(requests)
    await refused.exits(2)
    refused.says("(INVALID_LINES)")
    check(not refused.stdout, f"stdout is {refused.stdout[:200]!r}, and no batch was made")
    for number, field in BAD.items():
        named = cell.client.bad_line.format(number=number, field=re.escape(field))
        found = re.search(named, refused.stderr, re.MULTILINE)
        check(found is not None, f"no line of stderr matches {named!r}")
    cell.check_nothing_written()
    for options, failed in ((["--skip-invalid"], 3), (["--skip-invalid", "--lenient"], 2)):
        program = await cell.submit(*options, requests)
        await program.exits(3)
        program.says(f" {failed} failed")
        await cell.check_results(program.batch_id())


async def cancelled(cell: Cell) -> None:
    """By somebody else, during the watch."""
    await cell.open()
    async with cell.held() as provider:
        lines = [chat(provider, n) for n in range(4)]
        program = await cell.submit(cell.write(lines))
        await program.until_says("In Progress")
        await cell.judge.cancel_batch((await cell.made()).id)
        batch = await cell.finished(program, 4)
    check(batch.state is BatchState.CANCELLED, f"the batch is {batch.state}")
    program.says("4 cancelled")


async def interrupted(cell: Cell) -> None:
    """With Ctrl-C during the watch; another run watches on."""
    await cell.open()
    async with cell.held() as provider:
        program = await cell.submit(cell.write([chat(provider, n) for n in range(4)]))
        await program.until_says("In Progress")
        before = len(program.stderr)
        program.interrupt()
        await program.exits(130)
        batch_id, told = program.batch_id(), program.stderr[before:]
        found = re.search(rf"\bwatch {batch_id}", told)
        check(found is not None, f"{told!r} does not say how to go on")
        cell.check_nothing_written()
        again = await cell.submit("--watch", batch_id)
        await again.until_says("In Progress")
        await cell.stand.release(provider)
        await again.exits(0)
        await cell.check_results((await cell.made()).id)


async def run_again(cell: Cell) -> None:
    """The program is killed in the upload and in the watch, and run again each time."""
    await cell.open()
    async with cell.held() as provider:
        filling = "x" * (MIB // 8 - 300)
        requests = cell.write(chat(provider, n, filling) for n in range(24))
        arguments = ("--request-id", "run-again-0001", requests)
        cell.proxy.fail(UPLOAD, Fault(after_bytes=1 * MIB, hold=True))
        first = await cell.submit(*arguments)
        await cell.until(lambda: any(call.held for call in cell.proxy.calls), "the upload's hold")
        await first.kill()
        second = await cell.submit(*arguments)
        await second.until_says("In Progress")
        await second.kill()
        third = await cell.submit(*arguments)
        await third.until_says("In Progress")
        await cell.stand.release(provider)
        batch = await cell.finished(third, 0)
    check(second.batch_id() == batch.id, "the second run made another batch")
    await check_resumed(cell, batch)


async def tls(cell: Cell) -> None:
    """The services' certificate is of an authority of their own, which the client is told; then
    they want a certificate of the client too."""
    services, clients, stranger = trustme.CA(), trustme.CA(), trustme.CA()
    issued, mine = services.issue_cert("localhost"), clients.issue_cert("me")
    own = [(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())]
    files = {"CA": services.cert_pem, "STRANGER": stranger.cert_pem}
    files |= {"CLIENT_CERT": mine.cert_chain_pems[0], "CLIENT_KEY": mine.private_key_pem}
    for name, content in files.items():
        content.write_to_path(cell.folder / f"{name}.pem")
    known, certificate, key = (
        {f"POLYBATCH_TLS_{name}": str(cell.folder / f"{name}.pem")}
        for name in ("CA", "CLIENT_CERT", "CLIENT_KEY")
    )
    requests = cell.write(mixed())
    await cell.open(credentials=grpc.ssl_server_credentials(own))
    for doubts in ({}, {"POLYBATCH_TLS_CA": str(cell.folder / "STRANGER.pem")}):
        began = cell.proxy.now()
        doubtful = await cell.submit(requests, POLYBATCH_WAIT="2", **doubts)
        await doubtful.exits(1)
        # Far more than two seconds, and than what a program takes to start on a busy machine.
        check(cell.proxy.now() - began < 20, "it gave up long after POLYBATCH_WAIT")
        named = re.search("certif", doubtful.stderr, re.IGNORECASE)
        check(named is not None, "the certificate is not named on stderr")
        cell.check_nothing_written()
    again = ("--request-id", "tls-request-0001", requests)
    await cell.finished(await cell.submit(*again, **known), 0)
    both = grpc.ssl_server_credentials(own, clients.cert_pem.bytes(), require_client_auth=True)
    await cell.open(credentials=both)
    await cell.finished(await cell.submit(*again, **known, **certificate, **key), 0)


async def deadlines(cell: Cell) -> None:
    """One break in the upload, so that every client asks for its status."""
    await cell.open()
    cell.proxy.fail(UPLOAD, Fault(after_bytes=1))
    await cell.finished(await cell.submit(cell.write(mixed())), 0)
    single = [call for call in cell.proxy.calls if not (call.streams_up or call.streams_down)]
    check(bool(single), "there was no call with one reply")
    for call in cell.proxy.calls:
        if call in single:
            right = call.deadline is not None and call.deadline < MINUTE + ROUNDED
            check(right, f"{call.method} has {call.deadline} s, not at most a minute")
        else:
            check(call.deadline is None, f"{call.method} has a deadline: {call.deadline} s")
