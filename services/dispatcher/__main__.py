"""`python -m services.dispatcher`: run the dispatcher."""

import sys

from core.pipeline import run_service
from services.dispatcher.service import serve

if __name__ == "__main__":
    sys.exit(
        run_service(
            "dispatcher",
            "Plans batches into shards and submits them to the providers.",
            serve,
        )
    )
