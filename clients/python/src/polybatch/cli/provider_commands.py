"""The command about providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.output import counted, moment, size
from polybatch.cli.session import Session

if TYPE_CHECKING:
    from polybatch import Provider, ProviderLimits, ProviderQueue

_SHOWN_MODELS = 6


@click.command(cls=grammar.Command, example="polybatch providers openai")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Those without a key too.")
@click.pass_obj
def providers(session: Session, *, names: tuple[str, ...], everything: bool) -> ExitCode:
    """Show which providers can be used: key, limits, models, and what waits for them."""
    known = session.client.providers()
    if missing := sorted(set(names) - {each.name for each in known}):
        raise click.UsageError(
            f"there is no provider {missing[0]!r}, only {', '.join(each.name for each in known)}."
        )
    shown = [
        each for each in known if (each.name in names if names else everything or each.configured)
    ]
    for number, each in enumerate(shown):
        if session.json:
            session.emit(each)
            continue
        if number:
            session.say("")
        every = session.command("providers", each.name)
        session.tell_facts(_facts(each, "" if names else every), 10)
    hidden = [each.name for each in known if not each.configured and each not in shown]
    if hidden and not names:
        session.note(f"without a key: {', '.join(hidden)} (--all shows them)")
    return ExitCode.OK


def _facts(provider: Provider, every: str) -> list[tuple[str, str]]:
    """`every`: the command that shows all models, where not all are wanted here."""
    models: tuple[str, ...] = provider.models
    if every and len(models) > _SHOWN_MODELS:
        more = len(models) - _SHOWN_MODELS
        models = (*models[:_SHOWN_MODELS], f"and {more} more ({every})")
    held = provider.held_until
    return [
        ("provider", provider.name),
        ("key", _key(provider)),
        ("held", f"the provider wants no call until {moment(held)}" if held else ""),
        *(("waiting", _waiting(each)) for each in provider.waiting),
        ("endpoints", ", ".join(provider.endpoints)),
        ("limits", _limits(provider.limits) if provider.limits else ""),
        *(
            ("tokens", f"{tokens:,} enqueued at a time for {model}")
            for model, tokens in (provider.limits.token_limits if provider.limits else {}).items()
        ),
        ("models", ", ".join(models) or "any that the provider has"),
    ]


def _waiting(queue: ProviderQueue) -> str:
    lines, shards = counted(queue.line_count, "line"), counted(queue.shard_count, "shard")
    return f"{lines} in {shards}: {queue.reason}"


def _key(provider: Provider) -> str:
    checked = f" ({moment(provider.key_checked_at)})" if provider.key_checked_at else ""
    return {
        "accepted": f"accepted{checked}",
        "refused": f"REFUSED: {provider.key_error}{checked}; set {provider.key_variable} to one "
        "that works and restart",
        "missing": f"missing: set {provider.key_variable} and restart",
        "not_needed": "not needed",
    }.get(provider.key_state, f"set ({provider.key_variable}), not tried yet")


def _limits(limits: ProviderLimits) -> str:
    if not limits.line_by_line:
        return f"{limits.max_lines:,} lines and {size(limits.max_bytes)} a batch"
    rate = limits.requests_per_minute
    return f"line by line, {limits.max_concurrency:,} calls at a time" + (
        f", {rate:,.0f} a minute" if rate else ""
    )
