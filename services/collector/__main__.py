"""`python -m services.collector`: run the collector."""

import sys

from core.pipeline import run_service
from services.collector.service import serve

if __name__ == "__main__":
    sys.exit(
        run_service(
            "collector",
            "Polls the providers, brings results home, serves status and results.",
            serve,
        )
    )
