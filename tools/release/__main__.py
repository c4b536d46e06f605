"""`python -m tools.release`: see `make dist` and `make release`, which call it."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tools.release import checks, completeness, distributions
from tools.release.steps import described, steps
from tools.release.versions import declared

ROOT = Path(__file__).parents[2]
_COMMANDS = {
    "check": ("version",),
    "dist": ("folder",),
    "types": ("folder", "pyright"),
    "sums": ("folder",),
    "finish": ("version", "folder"),
}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def problems(version: str) -> Iterator[str]:
    """Yields what is in the way of releasing this checkout as a version."""
    if wrong := list(checks.version_problems(version)):
        yield from wrong
        return
    changelog = (ROOT / "CHANGELOG.md").read_text()
    images = [path.name for path in (ROOT / "protos/released").glob("*.binpb")]
    yield from checks.tree_problems(_git("status", "--porcelain"))
    yield from checks.tag_problems(version, _git("tag", "--list").split())
    yield from checks.declaration_problems(version, declared(ROOT))
    yield from checks.changelog_problems(version, changelog, datetime.now(UTC).date())
    yield from checks.base_problems(version, changelog, images)


def check(version: str) -> None:
    """Ends the program where something is in the way, and says all of it."""
    if found := list(problems(version)):
        lines = "".join(f"\n  {each}" for each in found)
        sys.exit(f"This is not ready to be released as {version}:{lines}")
    print(f"Ready to be released as {version}")


def dist(folder: Path) -> None:
    """Builds the Python packages into a folder, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in distributions.build(ROOT, folder):
        print(f"Built {path}")


def types(folder: Path, pyright: Path) -> None:
    """Ends the program where the types of the client's wheel are not complete."""
    [wheel] = folder.glob("polybatch-*.whl")
    if found := completeness.check(wheel, pyright):
        sys.exit("These have no known type:" + "".join(f"\n  {each}" for each in found))


def sums(folder: Path) -> None:
    """Writes SHA256SUMS, which `sha256sum --check` reads."""
    names = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def image(version: str) -> bool:
    """Builds the image where Docker runs, and says whether it did."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        print("No image was built: Docker does not run here")
        return False
    labels = {"version": version, "revision": _git("rev-parse", "HEAD").strip()}
    options = [f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()]
    subprocess.run(
        [docker, "build", *options, f"--tag=polybatch:{version}", "."], cwd=ROOT, check=True
    )
    return True


def finish(version: str, folder: Path) -> None:
    """Builds the image, and says what is left to do."""
    built = image(version)
    clients = [path.name for path in (ROOT / "clients").iterdir() if path.is_dir()]
    print(f"\n{folder} holds what is published of {version}. Nothing is published yet:\n")
    print(described(steps(version, clients, image_built=built, dist=str(folder))))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="tools.release", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    for name, words in _COMMANDS.items():
        command = commands.add_parser(name)
        for word in words:
            command.add_argument(word, type=str if word == "version" else Path)
    given = parser.parse_args()
    try:
        match given.command:
            case "check":
                check(given.version)
            case "dist":
                dist(given.folder)
            case "types":
                types(given.folder, given.pyright)
            case "sums":
                sums(given.folder)
            case "finish":
                finish(given.version, given.folder)
    except distributions.BuildFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
