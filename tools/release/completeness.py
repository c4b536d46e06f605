"""Asks pyright whether the types of a wheel's public interface are complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# All that the package is said to run on: each knows other modules, and other types of them.
PYTHON_VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# No part of what programs import: the stubs that protoc writes, and the command line.
NOT_PUBLIC = ("polybatch.v1.", "polybatch.cli", "polybatch.__main__")


def incomplete(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Returns how many public symbols a report of pyright has, and those without a known type."""
    public = [
        each
        for each in report["typeCompleteness"]["symbols"]
        if each["isExported"] and not each["name"].startswith(NOT_PUBLIC)
    ]
    return len(public), [_described(each) for each in public if not each["isTypeKnown"]]


def _described(symbol: dict[str, Any]) -> str:
    reasons = [each["message"].splitlines()[0] for each in symbol["diagnostics"]]
    return f"{symbol['name']}: {reasons[0]}" if reasons else symbol["name"]


def check(wheel: Path, pyright: Path, versions: Iterable[str] = PYTHON_VERSIONS) -> list[str]:
    """Prints a line for each version of Python; returns what has no known type.

    What the package stands on is taken from the environment that this runs in.
    """
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        environment = Path(scratch, "environment")
        venv.create(environment)
        packages = sysconfig.get_path("purelib", "venv", vars={"base": str(environment)})
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
        # Folders of a .pth file come last, and their own .pth files are not read: not even an
        # editable installation of the package stands before the wheel.
        Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        for version in versions:
            count, unknown = incomplete(_report(pyright, environment, version))
            known = count - len(unknown)
            print(f"Types for Python {version}: {known} of {count} public symbols are complete")
            problems += [f"Python {version}: {each}" for each in unknown]
            if not count:
                problems.append(f"Python {version}: no public symbol was found")
    return problems


def _report(pyright: Path, environment: Path, version: str) -> dict[str, Any]:
    # It looks at the Python that stands first in PATH, and at PYTHONPATH.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = [str(pyright.absolute()), "--verifytypes", "polybatch", "--ignoreexternal"]
    done = subprocess.run(
        [*command, "--pythonversion", version, "--outputjson"],
        cwd=environment,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(f"pyright failed:\n{done.stdout}{done.stderr}")
    return report
