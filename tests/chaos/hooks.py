"""An owner of webhook endpoints whose gateway dies."""

from __future__ import annotations

from polybatch import Client, Conflict, WebhookEndpoint


def create(client: Client, url: str) -> WebhookEndpoint:
    """Make an endpoint, and know its secret, though an answer may be lost."""
    try:
        return client.webhooks.create(url)
    except Conflict as error:
        return client.webhooks.rotate_secret(error.metadata["endpoint_id"])


def manage(client: Client, url: str) -> None:
    """Every change of an endpoint; each has happened once at the end, whoever died in it."""
    endpoint = create(client, url)
    assert client.webhooks.test(endpoint.id).batch_id == "batch_test"
    changed = client.webhooks.update(endpoint.id, description="changed", disabled=True)
    assert (changed.description, changed.disabled) == ("changed", True)
    rotated = client.webhooks.rotate_secret(endpoint.id)
    assert rotated.secret
    assert rotated.secret != endpoint.secret
    client.webhooks.delete(endpoint.id)
    assert endpoint.id not in [each.id for each in client.webhooks.list()]
