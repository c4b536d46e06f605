import os
import time
from pathlib import Path

from services.dispatcher.submit import remove_stale_spools


def test_only_spools_older_than_a_lease_go(tmp_path: Path) -> None:
    for name, age in (("shard_old-t", 1000), ("shard_new-t", 10), ("other", 1000)):
        path = tmp_path / name
        path.touch()
        moment = time.time() - age
        os.utime(path, (moment, moment))
    remove_stale_spools(tmp_path, age=900)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "shard_new-t"]
