"""The command's libraries: only with `polybatch[cli]`, and none loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires

import click
import pytest
from packaging.requirements import Requirement
from polybatch.cli import ExitCode, main
from polybatch.cli.program import _HOMES, cli

from tests.support.client.command import Command

COMMANDS = (
    *(
        "submit",
        "watch",
        "list",
        "get",
        "results",
        "failures",
        "manifest",
        "cancel",
        "pause",
        "resume",
        "retry",
    ),
    *("validate", "estimate", "convert", "files", "providers", "prices", "usage", "keys"),
    *("admin", "webhooks", "completion", "delete"),
)
ACTIONS = ("list", "get", "delete", "download")
WEBHOOK_ACTIONS = (
    *("create", "list", "update", "delete", "rotate"),
    *("test", "deliveries", "resend"),
)
LIBRARIES = {"click", "rich"}


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a fresh interpreter."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def loaded_after(
    program: str, watched: frozenset[str] = frozenset({"click", "rich", "grpc", "google.protobuf"})
) -> set[str]:
    """What a program has imported, of those that matter."""
    seen = f"print(*{set(watched)} & set(sys.modules), file=sys.stderr)"
    done = python(f"import sys; {program}; {seen}")
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_only_the_extra_asks_for_them() -> None:
    needs = [Requirement(text) for text in requires("polybatch") or ()]
    always = {need.name for need in needs if need.marker is None}
    extra = {need.name for need in needs if need.marker and need.marker.evaluate({"extra": "cli"})}
    assert {"grpcio", "protobuf"} <= always
    assert not always & LIBRARIES
    # Itself, with the extra that reads zstd.
    assert extra - always == LIBRARIES | {"polybatch"}


def test_the_library_loads_none_of_them() -> None:
    program = "from polybatch import *; Client(api_key='x', gateway='localhost:1').close()"
    assert loaded_after(program) == {"grpc", "google.protobuf"}


def test_a_command_loads_no_other() -> None:
    modules = frozenset(f"polybatch.cli.{home.partition('.')[0]}" for home in _HOMES.values())
    program = "from polybatch.cli import main; main(['list', '--help'])"
    assert loaded_after(program, modules) == {"polybatch.cli.batch_commands"}


def test_each_command_goes_by_its_name() -> None:
    context = click.Context(cli)
    names = cli.list_commands(context)
    assert len(names) == len(set(names)) > len(_HOMES)
    assert [command.name for name in names if (command := cli.get_command(context, name))] == names
    assert cli.get_command(context, "no-such-command") is None


def test_a_client_loads_operations_with_their_first_use() -> None:
    operations = frozenset(
        f"polybatch._operations.{name}" for name in ("uploads", "downloads", "watches", "requests")
    )
    made = "from polybatch import Client; client = Client(api_key='x', gateway='localhost:1')"
    assert loaded_after(made, operations) == {"polybatch._operations.requests"}
    used = f"{made}; client._uploads; client.files._client._downloads"
    assert loaded_after(used, operations) == operations - {"polybatch._operations.watches"}


def test_help_loads_neither_grpc_nor_rich() -> None:
    program = "from polybatch.cli import main; main(['--help']); main(['submit', '--help'])"
    assert loaded_after(program) == {"click"}


@pytest.mark.parametrize("missing", sorted(LIBRARIES))
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    program = (
        "import runpy, sys; sys.modules[sys.argv.pop()] = None; "
        "runpy.run_module('polybatch', run_name='__main__')"
    )
    done = python(program, "list", missing)
    assert done.returncode == ExitCode.BAD_INPUT
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "pip install 'polybatch[cli]'" in line


def test_ctrl_c_while_it_loads_is_no_traceback() -> None:
    program = (
        "import runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'polybatch.cli.session': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "runpy.run_module('polybatch', run_name='__main__')"
    )
    done = python(program, "list")
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "polybatch: stopped.\n")


def completed(command: Command, *words: str) -> set[str]:
    """What the shell offers for the last of the words."""
    command.environment |= {
        "_POLYBATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("polybatch", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = command.run()
    assert (done.returncode, done.stderr) == (0, "")
    return {line.partition(",")[2] for line in done.stdout.split()}


def test_completion_lists_commands_and_options(command: Command) -> None:
    assert completed(command, "") == set(COMMANDS)
    assert completed(command, "f") == {"failures", "files"}
    assert completed(command, "files", "") == set(ACTIONS)
    assert completed(command, "submit", "--fail") == {"--fail-fast"}
    assert "--gateway" in completed(command, "files", "list", "--")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_switched_on_by_a_script(command: Command, shell: str) -> None:
    command.environment["_POLYBATCH_COMPLETE"] = f"{shell}_source"
    done = command.run()
    assert done.returncode == 0
    assert f"_POLYBATCH_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    "path",
    [
        (),
        *((name,) for name in COMMANDS),
        *(("files", action) for action in ACTIONS),
        *(("webhooks", action) for action in WEBHOOK_ACTIONS),
    ],
    ids=lambda path: " ".join(path) or "polybatch",
)
def test_every_help_has_an_example(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == ExitCode.OK
    shown = capsys.readouterr().out
    _, _, example = shown.partition("\nExample")
    assert f"  polybatch {' '.join(path)}" in example
    assert "--wait SECONDS" in shown
    assert main([*path, "-h"]) == ExitCode.OK
    assert capsys.readouterr().out == shown
