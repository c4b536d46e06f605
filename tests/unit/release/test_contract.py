"""The protos against the last release: what breaks a client is found, what is added is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
BUF = ROOT / "tools/node_modules/.bin/buf"


def buf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs buf in a folder. Without it the test is skipped, or fails on CI."""
    if shutil.which("node") is None or not BUF.exists():
        missing = "buf is missing: make lint installs it, and needs npm"
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (CI must have it)", pytrace=False)
        pytest.skip(missing)
    return subprocess.run(
        [BUF, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """A copy of what buf reads, to be changed."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def held_against_the_release(contract: Path) -> subprocess.CompletedProcess[str]:
    [image] = (contract / "protos/released").glob("*.binpb")
    return buf(contract, "breaking", "--against", str(image))


def change(contract: Path, name: str, old: str, new: str) -> None:
    path = contract / "protos/polybatch/v1" / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("files.proto", "rpc DeleteFile(", "rpc RemoveFile("),
        pytest.param(
            "files.proto",
            "message DeleteFileRequest {",
            "message RemoveFileRequest {",
            marks=pytest.mark.long,
        ),
        ("batches.proto", "  BATCH_STATE_COMPLETED =", "  BATCH_STATE_FINISHED ="),
        pytest.param(
            "status.proto",
            "int64 last_revision = 2;",
            "int64 last_revision = 20;",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "status.proto",
            "int64 last_revision = 2;",
            "string last_revision = 2;",
            marks=pytest.mark.long,
        ),
        ("status.proto", "(stream WatchBatchResponse)", "(WatchBatchResponse)"),
    ],
)
def test_what_breaks_a_client_is_found(contract: Path, name: str, old: str, new: str) -> None:
    change(contract, name, old, new)
    done = held_against_the_release(contract)
    assert done.returncode
    assert f"polybatch/v1/{name}" in done.stdout


def test_what_is_added_breaks_nothing(contract: Path) -> None:
    change(
        contract,
        "status.proto",
        "int64 last_revision = 2;",
        "int64 last_revision = 2;\n  string more = 99;",
    )
    done = held_against_the_release(contract)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_rpc_without_a_comment_is_found(contract: Path) -> None:
    undocumented = "service BareService {\n  rpc Bare(BareRequest) returns (BareResponse);\n}\n"
    messages = "message BareRequest {}\nmessage BareResponse {}\n"
    with (contract / "protos/polybatch/v1/status.proto").open("a") as file:
        file.write(undocumented + messages)
    done = buf(contract, "lint")
    assert done.returncode
    assert {line.split('"')[1] for line in done.stdout.splitlines()} == {"BareService", "Bare"}


TEMPLATE = yaml.safe_load((ROOT / "buf.gen.yaml").read_text())
# A language's plugins run together: one may write into what another has made.
FOLDERS = sorted({plugin["out"] for plugin in TEMPLATE["plugins"]})


def command_of(plugin: dict[str, object]) -> str:
    command = plugin.get("local") or plugin.get("protoc_path") or "protoc"
    return str(command[0] if isinstance(command, list) else command)


@pytest.mark.long
@pytest.mark.parametrize("folder", FOLDERS)
def test_stubs_are_generated(tmp_path: Path, folder: str) -> None:
    plugins = [plugin for plugin in TEMPLATE["plugins"] if plugin["out"] == folder]
    for command in map(command_of, plugins):
        if shutil.which(ROOT / command if "/" in command else command) is None:
            pytest.skip(f"{command} is missing")
    template = tmp_path / "one.yaml"
    template.write_text(yaml.safe_dump(TEMPLATE | {"plugins": plugins}))
    done = buf(ROOT, "generate", "--template", str(template), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    made = "".join(path.read_text() for path in tmp_path.joinpath(folder).rglob("*.*"))
    assert "CreateBatchRequest" in made
    # Of events.proto, which is for programs inside the suite.
    assert "BatchEvent" not in made
