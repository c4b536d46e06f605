"""The commands about providers."""

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


_STEERING = ("pause", "resume")


@click.command(
    cls=grammar.Command,
    example="""\
Examples:
  polybatch providers openai
  polybatch providers pause openai     send nothing more to it, of any account
  polybatch providers resume openai    let it have work again

pause and resume take a key of the scope "operator": POLYBATCH_API_KEY or --api-key-file, else the
file $POLYBATCH_DATA_DIR/operator-key, which the first start makes.
""",
)
@click.argument("names", metavar="[[pause|resume] NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Those without a key too.")
@click.pass_obj
def providers(session: Session, *, names: tuple[str, ...], everything: bool) -> ExitCode:
    """Show which providers can be used: key, limits, models, and what waits for them.

    Or pause one, or resume it.
    """
    if names and names[0] in _STEERING:
        return _steer(session, names[0], names[1:])
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


def _steer(session: Session, verb: str, names: tuple[str, ...]) -> ExitCode:
    if len(names) != 1:
        raise click.UsageError(f"{verb} takes the name of one provider.")
    session.operator = True
    client = session.client
    change = client.pause_provider if verb == "pause" else client.resume_provider
    provider = change(names[0])
    if session.json:
        session.emit(provider)
    elif provider.paused_at:
        session.say(f"{provider.name}  {_paused(provider)}")
        again = session.command("providers", "resume", provider.name)
        session.note(f"what is there comes home; let it have work again: {again}")
    else:
        session.say(f"{provider.name}  has work again")
    return ExitCode.OK


def _paused(provider: Provider) -> str:
    if provider.paused_at is None:
        return ""
    return f"PAUSED by {provider.paused_by} since {moment(provider.paused_at)}: nothing is sent"


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
        ("paused", _paused(provider)),
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
