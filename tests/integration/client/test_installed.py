"""The built packages: the same bytes each time, whole, and of use without the repository."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from polybatch.v1 import batches_pb2

from tests.support.client.batches import result_line, snapshot
from tests.support.client.command import GOOD
from tests.support.client.fake_service import API_KEY, FakePolybatch
from tools.release import completeness

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
BUILDER = ROOT / ".venv/release/bin/python"
PYRIGHT = ROOT / "tools/node_modules/.bin/pyright"
RESULTS = b"".join(json.dumps(result_line(n)).encode() + b"\n" for n in range(100))

# Imports all of the package, and finds nothing of the suite.
IMPORTS = """
import importlib.util, pkgutil, warnings
warnings.simplefilter("error")
import polybatch
found = [each.name for each in pkgutil.walk_packages(polybatch.__path__, "polybatch.")]
for name in found:
    if name != "polybatch.__main__" and "parquet" not in name:
        __import__(name)
for name in polybatch.__all__:
    getattr(polybatch, name)
assert not any(map(importlib.util.find_spec, ("core", "services")))
print(len(found))
"""


def missing(what: str) -> None:
    """Skips the test, or fails it on CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI must have it)", pytrace=False)
    pytest.skip(what)


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    """Runs a program to its end, without what leads Python to the repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `make dist` builds."""
    if not BUILDER.exists():
        missing("run make dist first")
    folder = tmp_path_factory.mktemp("built") / "dist"
    run(BUILDER, "-m", "tools.release", "dist", folder)
    return folder


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def test_they_are_the_same_bytes_each_time(dist: Path, tmp_path: Path) -> None:
    again = tmp_path / "dist"
    run(BUILDER, "-m", "tools.release", "dist", again)
    names = sorted(path.name for path in dist.iterdir())
    assert len(names) == 4
    assert names == sorted(path.name for path in again.iterdir())
    assert [n for n in names if (dist / n).read_bytes() != (again / n).read_bytes()] == []


@pytest.mark.parametrize("package", ["polybatch", "polybatch_suite"])
def test_an_sdist_gives_the_same_wheel(dist: Path, tmp_path: Path, package: str) -> None:
    [sdist] = dist.glob(f"{package}-*.tar.gz")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path)
    run(BUILDER, "-m", "pip", "wheel", "--quiet", *options, sdist)
    [built], [wheel] = tmp_path.iterdir(), dist.glob(f"{package}-*.whl")
    assert contents(built) == contents(wheel)


@pytest.mark.parametrize(
    ("package", "folder", "parts"),
    [
        ("polybatch", "clients/python/src", ["polybatch"]),
        ("polybatch_suite", ".", ["core", "services"]),
    ],
)
def test_a_wheel_holds_all_that_git_does(
    dist: Path, package: str, folder: str, parts: list[str]
) -> None:
    [wheel] = dist.glob(f"{package}-*.whl")
    packed = {name for name in contents(wheel) if ".dist-info/" not in name}
    tracked = run("git", "ls-files", "--", *parts, cwd=ROOT / folder).split()
    assert packed == {name for name in tracked if not name.endswith(".md")}


def test_their_descriptions_are_fit_for_an_index(dist: Path) -> None:
    run(BUILDER.with_name("twine"), "check", "--strict", *dist.iterdir())


def test_the_types_of_the_client_are_complete(dist: Path) -> None:
    if shutil.which("node") is None or not PYRIGHT.exists():
        missing("pyright is missing: make dist installs it, and needs npm")
    [wheel] = dist.glob("polybatch-*.whl")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert completeness.check(wheel, PYRIGHT, [version]) == []


def interpreter(minor: int) -> str:
    """A Python 3 of a minor version, in PATH or of pyenv."""
    installed = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))
    # The shims of pyenv are there without what they stand for.
    for candidate in (sys.executable, shutil.which(f"python3.{minor}"), *installed):
        if candidate is not None:
            asked = [candidate, "-c", "import sys; print(sys.version_info[1])"]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.stdout.strip() == str(minor):
                return str(candidate)
    pytest.skip(f"Python 3.{minor} is missing")


def constraints(folder: Path) -> Path:
    """What the suite is locked to, without digests and extras: the same versions each time."""
    lock = (ROOT / "requirements/runtime.lock").read_text().replace("\\\n", " ")
    pins = [line.partition(" --hash")[0] for line in lock.splitlines()]
    path = folder / "constraints.txt"
    path.write_text("\n".join(re.sub(r"\[[^]]*\]", "", pin) for pin in pins))
    return path


@pytest.mark.parametrize("minor", [11, 12, 13, 14], ids="3.{}".format)
def test_the_command_works_alone(
    dist: Path, tmp_path: Path, fake: FakePolybatch, minor: int
) -> None:
    run(interpreter(minor), "-m", "venv", "--without-pip", tmp_path / "environment")
    python = tmp_path / "environment/bin/python"
    command = python.with_name("polybatch")
    [wheel] = dist.glob("polybatch-*.whl")
    pip = (BUILDER, "-m", "pip", "--python", python, "--disable-pip-version-check", "install")
    run(*pip, "--quiet", "--constraint", constraints(tmp_path), f"{wheel}[cli]", cwd=tmp_path)

    version = wheel.name.split("-")[1]
    [api] = (ROOT / "protos/polybatch").iterdir()
    assert run(command, "--version", cwd=tmp_path) == (
        f"polybatch {version} (API polybatch.{api.name})\n"
    )
    assert "polybatch submit requests.jsonl" in run(command, "--help", cwd=tmp_path)
    modules = (ROOT / "clients/python/src/polybatch").rglob("[!_]*.py")
    assert int(run(python, "-c", IMPORTS, cwd=tmp_path)) >= len(list(modules))

    def end(batch: batches_pb2.Batch) -> None:
        fake.batches[batch.id].append(snapshot(batch.id, 2, "COMPLETED", succeeded=100))
        fake.results[batch.id] = RESULTS

    fake.on_submit = end
    (tmp_path / "good.jsonl.gz").write_bytes(gzip.compress(GOOD))
    run(
        *(command, "submit", "good.jsonl.gz", "-o", "results.jsonl"),
        cwd=tmp_path,
        POLYBATCH_GATEWAY=fake.address,
        POLYBATCH_COLLECTOR=fake.address,
        POLYBATCH_API_KEY=API_KEY,
    )
    assert (tmp_path / "results.jsonl").read_bytes() == RESULTS
