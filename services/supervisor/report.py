"""What the supervisor tells: a short block to read, a ready file for programs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from core.bus import public_url
from core.ledger import ProviderKey
from core.settings import Settings
from services.supervisor.plan import Plan

log = structlog.get_logger()

_DEFAULT_DATA_DIR = ".polybatch"


def no_provider_notice(plan: Plan) -> str:
    """Plain words about missing provider keys; empty if there is one."""
    if plan.providers:
        return ""
    *others, last = [plan.known.key_variables[name] for name in plan.without_key]
    variables = f"{', '.join(others)} or {last}" if others else last
    return (
        "No provider key is set, so every batch will be refused.\n"
        f"Next: stop this with Ctrl-C, set {variables},\n"
        "and start again; or try it all out without keys and without cost, on made-up answers:\n"
        "  make up SANDBOX=1"
    )


def refused_keys_notice(plan: Plan, tried: Mapping[str, ProviderKey]) -> str:
    """Plain words about keys that their providers refuse; empty if none is."""
    refused = [name for name in _real(plan) if name in tried and not tried[name].accepted]
    return "\n".join(
        f"{name} refuses its key ({tried[name].code}): set {plan.known.key_variables[name]} to one "
        "that works\nand start again. Until then its lines wait."
        for name in refused
    )


def keys_are_told(plan: Plan) -> bool:
    """Whether `ready_block` has anything to say of keys."""
    return any(name in plan.known.key_variables for name in _real(plan))


def ready_block(plan: Plan, tried: Mapping[str, ProviderKey] | None = None) -> str:
    """The block that is printed once everything is healthy.

    `tried`: what providers said of their keys, by name; those that were not reached are
    missing. None: nothing is known of any.
    """
    rows = [
        ("gateway", plan.gateway),
        ("collector", plan.collector),
        *([("HTTP API", plan.web)] if plan.web else []),
        ("providers", _providers(plan, tried)),
        ("API key", str(plan.api_key_file)),
        ("operator", f"{plan.operator_key_file} (key for `polybatch admin`)"),
        ("data", str(plan.data_dir)),
    ]
    if plan.metrics:
        rows.append(("metrics", " ".join(sorted(plan.metrics.values()))))
    lines = ["polybatch is up", *(f"  {name:<10} {value}" for name, value in rows)]
    for notice in (no_provider_notice(plan), refused_keys_notice(plan, tried or {})):
        if notice:
            lines += ["", notice]
    if plan.providers:
        lines += ["", *_first_file(plan)]
    return "\n".join([*lines, "", "Ctrl-C stops everything."])


def _first_file(plan: Plan) -> Iterator[str]:
    yield "Send a first file, from another terminal in this folder:"
    for name, value in _client_settings(plan).items():
        yield f"  export {name}={shlex.quote(value)}"
    if plan.gateway.startswith("grpcs://"):
        yield "  export POLYBATCH_TLS_CA=...   # the certificate's authority, unless a public one"
    yield f"  {_command_line()} submit examples/chat-mixed.jsonl -o results.jsonl"


def warn_of_a_full_disk(settings: Settings) -> None:
    """Say it where what follows would fail for it, each in its own words or not at first."""
    folder = settings.data_dir.absolute()
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    # Some file systems count no files, and say 0 of 0.
    no_files = bool(found.f_files) and not found.f_favail
    if free < settings.disk_reserve or no_files:
        log.warning(
            "disk_full",
            folder=str(folder),
            free_bytes=free,
            free_files=found.f_favail,
            next_step=f"make room: below {settings.disk_reserve:,} bytes "
            "(POLYBATCH_DISK_RESERVE) uploads are refused, below half of that batches wait, "
            "and with nothing left the services do not start",
        )


def _real(plan: Plan) -> list[str]:
    return [name for name in plan.providers if name not in plan.stood_in]


def _providers(plan: Plan, tried: Mapping[str, ProviderKey] | None) -> str:
    real = ", ".join(f"{name}{_key_of(name, plan, tried)}" for name in _real(plan))
    if plan.sandbox:
        text = (
            f"{', '.join(plan.stood_in)}: a SANDBOX stands in at {plan.sandbox}. "
            "Answers are made up, nothing is spent."
        )
        return f"{text} REAL: {real}" if real else text
    text = real or "none"
    if plan.providers and plan.without_key:
        text += f" (no key for {', '.join(plan.without_key)}: its lines are refused)"
    return text


def _key_of(name: str, plan: Plan, tried: Mapping[str, ProviderKey] | None) -> str:
    if tried is None or name not in plan.known.key_variables:
        return ""
    if name not in tried:
        return " (key not tried: no clear answer yet)"
    return " (key accepted)" if tried[name].accepted else f" (KEY REFUSED: {tried[name].code})"


def _client_settings(plan: Plan) -> dict[str, str]:
    """What the command line does not find by itself."""
    settings = {}
    if plan.data_dir != Path.cwd() / _DEFAULT_DATA_DIR:
        settings["POLYBATCH_DATA_DIR"] = str(plan.data_dir)
    return settings


def _command_line() -> str:
    """The polybatch command of this environment, as short as it can be typed here."""
    path = Path(sys.executable).parent / "polybatch"
    if not path.exists():
        return "polybatch"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextmanager
def removed_around(*paths: Path | None) -> Iterator[None]:
    """See to it that no such file is there before the children start and after they stop."""
    named = [path for path in paths if path is not None]
    for path in named:
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        for path in named:
            path.unlink(missing_ok=True)


def write_ready_file(path: Path, plan: Plan, pids: Mapping[str, int]) -> None:
    """Write addresses and pids as JSON, atomically: whoever sees the file sees all of it."""
    content = {
        "gateway": plan.gateway,
        "collector": plan.collector,
        "dispatcher": plan.dispatcher,
        "addresses": plan.addresses,
        "sandbox": plan.sandbox,
        "web": plan.web,
        "nats": public_url(plan.nats),
        "metrics": plan.metrics,
        "data_dir": str(plan.data_dir),
        "api_key_file": str(plan.api_key_file),
        "operator_key_file": str(plan.operator_key_file),
        "pids": {"supervisor": os.getpid(), **pids},
    }
    _write(path, content)


def write_addresses(plan: Plan) -> None:
    """Write where clients of this machine connect, beside the key that they find there too."""
    _write(plan.addresses_file, {"gateway": plan.gateway, "collector": plan.collector})


def _write(path: Path, content: object) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
