"""An operator who makes and revokes keys, and whose command dies in between."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from decimal import Decimal

from polybatch import Budget, Funding

from services.gateway.__main__ import main
from tests.chaos.cluster import Cluster
from tests.chaos.processes import run_once

_KEY = re.compile(r"^(key_\w+)  (\S+)  .*  (valid|revoked)", re.MULTILINE)


def administer(cluster: Cluster, account: str) -> None:
    """Make a key and revoke all keys of its account; what dies is done once more."""
    _command(cluster, ["keys", "create", "--account", account])
    for key, owner, state in _keys(cluster):
        if owner == account and state == "valid":
            _command(cluster, ["keys", "revoke", key])
    left = [state for _, owner, state in _keys(cluster) if owner == account]
    assert left, "the key was made"
    assert "valid" not in left, "and all are revoked"


def manage(cluster: Cluster, account: str) -> None:
    """Make an account, grant it credits and limit it, through gateways that die meanwhile."""
    with cluster.client("operator-key") as client:
        made = client.accounts.create(account)
        prepaid = client.accounts.update(account, funding=Funding.PREPAID)
        for number in (1, 2):
            after, _ = client.accounts.grant(account, "2.50", request_id=f"grant-{number}")
        key = client.keys.create(account=account).key
        limited = client.keys.update(key.id, budget=Budget(Decimal(3)))
        assert (made.id, prepaid.funding) == (after.id, Funding.PREPAID)
        assert limited.budget is not None
        postings = list(client.accounts.postings(account))
        assert [posting.balance for posting in postings] == [Decimal("2.5")] * 2, "once each"
        assert client.accounts.get(account).balance == 5


def _keys(cluster: Cluster) -> list[tuple[str, str, str]]:
    return _KEY.findall(_command(cluster, ["keys", "list"]))


def _command(cluster: Cluster, arguments: Sequence[str]) -> str:
    log = cluster.logs / "keys.log"
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        log.unlink(missing_ok=True)
        code = run_once(main, (arguments,), cluster.environment, log)
    text = log.read_text()
    # Who was killed behind its commit finds its key revoked already.
    assert code == 0 or "no valid key" in text, text
    return text
