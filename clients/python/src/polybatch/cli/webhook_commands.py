"""The commands about webhooks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

import polybatch
from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.ids import whole_batch_id, whole_delivery_id, whole_webhook_id
from polybatch.cli.listing import Listing
from polybatch.cli.output import age, moment
from polybatch.cli.session import Session

if TYPE_CHECKING:
    from polybatch import WebhookDelivery, WebhookEndpoint

_EVENTS = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
_STATES = ("waiting", "delivered", "failed")
_TEACHING = """\
A receiver, run with `uvicorn receiver:app` (docs/webhooks.md has more):
  from openai import OpenAI
  from starlette.applications import Starlette
  from starlette.responses import Response
  from starlette.routing import Route
  client = OpenAI(api_key="not used", webhook_secret="whsec_...")
  async def receive(request):
      event = client.webhooks.unwrap(await request.body(), request.headers)
      print(event.type, event.data.id)  # batch.completed batch_4k2j9x
      return Response(status_code=204)
  app = Starlette(routes=[Route("/webhooks", receive, methods=["POST"])])

Examples:
  polybatch webhooks create https://example.com/webhooks
  polybatch webhooks create --for-batches            for `submit --webhook URL`
  polybatch webhooks deliveries --state failed
"""

_endpoint_id = click.argument(
    "endpoint_id", metavar="WEBHOOK_ID", help="Or a part that is clear, or `last`: the newest."
)
_events = click.option(
    "--event",
    "event_types",
    type=click.Choice(_EVENTS),
    multiple=True,
    help="Only this event; may be given several times (all).",
)
_description = click.option("--description", metavar="TEXT", help="What it is for.")


@click.group(cls=grammar.Group, example=_TEACHING)
def webhooks() -> None:
    """Have a url called when a batch has ended: create, list, rotate, resend."""


@webhooks.command(example="polybatch webhooks create https://example.com/webhooks")
@click.argument("url", metavar="[URL]", required=False, help="https://...")
@click.option(
    "--for-batches",
    is_flag=True,
    help="Without a url: make the secret that signs what goes to `submit --webhook URL`.",
)
@_events
@_description
@click.pass_obj
def create(
    session: Session,
    *,
    url: str | None,
    for_batches: bool,
    event_types: tuple[str, ...],
    description: str | None,
) -> ExitCode:
    """Make an endpoint, and print its secret: it is shown this once."""
    if (url is None) != for_batches:
        raise click.UsageError("name a URL, or --for-batches.")
    endpoint = session.client.webhooks.create(
        url,
        event_types=event_types,
        description=description or "",
        for_batch_urls=for_batches,
    )
    _tell_secret(session, endpoint)
    return ExitCode.OK


@webhooks.command("list", example="polybatch webhooks list")
@click.pass_obj
def list_endpoints(session: Session) -> ExitCode:
    """List endpoints, oldest first."""
    columns = {"ID": 28, "STATE": 8, "EVENTS": 18, "SECRET": 13, "AGE": -6, "URL": 0}
    found, now = session.client.webhooks.list(), datetime.now(UTC)
    with Listing(columns, "SECRET", "AGE", "EVENTS") as listing:
        for endpoint in found:
            if session.json:
                session.emit(endpoint)
                continue
            listing.add(
                endpoint.id,
                "disabled" if endpoint.disabled else "enabled",
                _named(endpoint.event_types),
                endpoint.secret_hint,
                age(endpoint.created_at, now),
                endpoint.url or "(each batch's own)",
            )
    if not found:
        session.note(f"no webhooks yet: {session.command('webhooks', 'create')} URL makes one")
    return ExitCode.OK


@webhooks.command(example="polybatch webhooks update last --event batch.completed --enable")
@_endpoint_id
@click.option("--url", metavar="URL", help="Deliver there from now on.")
@_events
@click.option("--all-events", is_flag=True, help="Deliver all events again.")
@_description
@click.option("--enable/--disable", default=None, help="Deliver to it, or do not.")
@click.pass_obj
def update(
    session: Session,
    *,
    endpoint_id: str,
    url: str | None,
    event_types: tuple[str, ...],
    all_events: bool,
    description: str | None,
    enable: bool | None,
) -> ExitCode:
    """Change an endpoint."""
    if not (url or event_types or all_events or description is not None or enable is not None):
        raise click.UsageError("name what to change.")
    if all_events and event_types:
        raise click.UsageError("--event and --all-events contradict each other.")
    endpoint = session.client.webhooks.update(
        whole_webhook_id(session, endpoint_id),
        url=url,
        event_types=event_types if event_types or all_events else None,
        description=description,
        disabled=None if enable is None else not enable,
    )
    _tell(session, endpoint)
    return ExitCode.OK


@webhooks.command(example="polybatch webhooks delete webhook_7h3m2p")
@_endpoint_id
@click.pass_obj
def delete(session: Session, *, endpoint_id: str) -> ExitCode:
    """Delete an endpoint and what waits for it."""
    endpoint_id = whole_webhook_id(session, endpoint_id)
    session.client.webhooks.delete(endpoint_id)
    if session.json:
        session.emit({"id": endpoint_id, "deleted": True})
    else:
        session.say(f"{endpoint_id} deleted")
    return ExitCode.OK


@webhooks.command(example="polybatch webhooks rotate webhook_7h3m2p")
@_endpoint_id
@click.option(
    "--revoke-previous", is_flag=True, help="End the old secret at once: for one that has leaked."
)
@click.pass_obj
def rotate(session: Session, *, endpoint_id: str, revoke_previous: bool) -> ExitCode:
    """Print a new secret, once; the old one is valid too for a day."""
    endpoint = session.client.webhooks.rotate_secret(
        whole_webhook_id(session, endpoint_id), revoke_previous=revoke_previous
    )
    _tell_secret(session, endpoint)
    return ExitCode.OK


@webhooks.command(example="polybatch webhooks test last --event batch.failed")
@_endpoint_id
@click.option(
    "--event", "event_type", type=click.Choice(_EVENTS), default=_EVENTS[0], help="What it says."
)
@click.pass_obj
def test(session: Session, *, endpoint_id: str, event_type: str) -> ExitCode:
    """Deliver a sample event, once."""
    endpoint_id = whole_webhook_id(session, endpoint_id)
    _tell_delivery(session, session.client.webhooks.test(endpoint_id, event_type))
    return ExitCode.OK


@webhooks.command(example="polybatch webhooks deliveries --batch last")
@click.option(
    "--webhook",
    "endpoint_id",
    type=grammar.word,
    metavar="WEBHOOK_ID",
    help="Only to this endpoint.",
)
@click.option(
    "--batch",
    "batch_id",
    type=grammar.word,
    metavar="BATCH_ID",
    help="Only of this batch.",
)
@click.option("--state", type=click.Choice(_STATES), help="Only in this state.")
@grammar.limit
@click.pass_obj
def deliveries(
    session: Session,
    *,
    endpoint_id: str | None,
    batch_id: str | None,
    state: str | None,
    limit: int | None,
) -> ExitCode:
    """List deliveries, newest first.

    LAST is how the last attempt ended; --json has the newest 30.
    """
    columns = {
        **{"ID": 29, "STATE": 9, "EVENT": 15, "BATCH": 26, "TRIES": -5},
        **{"NEXT": 25, "CREATED": 25, "URL": 36, "LAST": 0},
    }
    found = session.client.webhooks.deliveries(
        endpoint_id=whole_webhook_id(session, endpoint_id) if endpoint_id else "",
        batch_id=whole_batch_id(session, batch_id) if batch_id else "",
        state=polybatch.WebhookDeliveryState(state) if state else None,
        page_size=min(limit or 100, 1000),
    )
    delivery = None
    with Listing(columns, "URL", "CREATED", "NEXT", "EVENT", "BATCH") as listing:
        for delivery in islice(found, limit):
            if session.json:
                session.emit(delivery)
                continue
            listing.add(
                delivery.id,
                delivery.state,
                delivery.event_type,
                delivery.batch_id,
                str(delivery.attempt_count),
                moment(delivery.next_attempt_at),
                moment(delivery.created_at),
                delivery.url,
                _last(delivery),
            )
    if delivery is None:
        session.note("no deliveries: each batch that ends makes one for every enabled webhook")
    return ExitCode.OK


@webhooks.command(example="polybatch webhooks resend delivery_7h3m2p")
@click.argument(
    "delivery_id", metavar="DELIVERY_ID", help="Or a part that is clear, or `last`: the newest."
)
@click.pass_obj
def resend(session: Session, *, delivery_id: str) -> ExitCode:
    """Deliver once more, at once, under the same webhook-id."""
    delivery = session.client.webhooks.resend(whole_delivery_id(session, delivery_id))
    _tell_delivery(session, delivery)
    return ExitCode.OK


def _tell_delivery(session: Session, delivery: WebhookDelivery) -> None:
    if session.json:
        session.emit(delivery)
        return
    session.say(f"{delivery.id} {delivery.state}")
    again = session.command("webhooks", "deliveries", "--webhook", delivery.endpoint_id)
    session.note(f"see what comes of it: {again}")


def _last(delivery: WebhookDelivery) -> str:
    if not delivery.attempts:
        return ""
    last = delivery.attempts[0]
    if last.duration is None:
        return "under way"
    took = f"in {last.duration.total_seconds():.1f} s"
    return f"{last.error}, {took}" if last.error else f"answered {last.status} {took}"


def _named(event_types: Iterable[str]) -> str:
    return ", ".join(name.removeprefix("batch.") for name in event_types) or "all"


def _tell(session: Session, endpoint: WebhookEndpoint) -> None:
    if session.json:
        session.emit(endpoint)
        return
    session.tell_facts(
        [
            ("webhook", endpoint.id),
            ("url", endpoint.url or "each batch's own"),
            ("events", _named(endpoint.event_types)),
            ("description", endpoint.description),
            ("disabled", endpoint.disabled_reason if endpoint.disabled else ""),
            ("secret", endpoint.secret or endpoint.secret_hint),
            ("old secret", _until(endpoint)),
        ],
        12,
    )


def _until(endpoint: WebhookEndpoint) -> str:
    until = endpoint.previous_secret_expires_at
    return f"valid too until {moment(until)}" if until else ""


def _tell_secret(session: Session, endpoint: WebhookEndpoint) -> None:
    _tell(session, endpoint)
    session.note("keep the secret: it is not shown again")
