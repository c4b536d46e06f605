"""The command `polybatch`."""

from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.main import main

__all__ = ["ExitCode", "main"]
