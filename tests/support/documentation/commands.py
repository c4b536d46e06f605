"""Commands as the documentation writes them, parsed by the real ones without running them."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import click
from polybatch.cli import grammar
from polybatch.cli.program import cli

from tests.support.documentation.blocks import ROOT
from tests.support.forked.python import python

_ENDS = {"|", "||", "&&", ";", "(", ")", "&"}
_REDIRECTIONS = {">", ">>", "<", "<<"}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = frozenset(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", MAKEFILE, re.MULTILINE))


class Wrong(Exception):
    """A command that the documentation shows and that is none."""


@dataclass(frozen=True)
class Command:
    """A program with its words, and the variables that are set for it or by it."""

    words: tuple[str, ...]
    variables: tuple[str, ...]

    @property
    def program(self) -> str:
        """Its name without a folder; empty where only variables are set."""
        return Path(self.words[0]).name if self.words else ""


def commands_in(shell: str) -> Iterator[Command]:
    """The single commands of a script, line by line, but for those inside others' quotes."""
    for line in re.sub(r"\\\n\s*", " ", shell).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        target = False
        for token in [*lexer, ";"]:
            if target:
                target = False
            elif token in _REDIRECTIONS:
                target = True
            elif token in _ENDS:
                yield from _command(words)
                words = []
            else:
                words.append(token)


def _command(words: list[str]) -> Iterator[Command]:
    variables: list[str] = []
    rest = [word for word in words if word != "export"] if words[:1] == ["export"] else words
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        variables.append(found[1])
        rest = rest[1:]
    if rest or variables:
        yield Command(tuple(rest), tuple(variables))


def check(command: Command) -> None:
    """Wrong for a command, a target, a module or an option that is not there."""
    match command.program, *command.words[1:]:
        case "polybatch", *words:
            _parse(words)
        case "make", *words:
            _check_make(words)
        case (("python" | "python3"), "-m", module, *words):
            _check_module(module, words)


def _parse(words: list[str]) -> None:
    found: click.Command = cli
    context: click.Context | None = None
    try:
        while True:
            name = "polybatch" if context is None else words.pop(0)
            obj = SimpleNamespace(options={}) if context is None else None
            context = found.make_context(name, list(words), parent=context, obj=obj)
            if not isinstance(found, click.Group):
                return
            # What is left is the name of a command below, and its own words.
            words = [*context._protected_args, *context.args]
            name, below, _ = found.resolve_command(context, list(words))
            assert below is not None
            found = below
    except click.exceptions.Exit:
        return  # --help and --version
    except click.UsageError as error:
        raise Wrong(error.format_message()) from None


def _check_make(words: list[str]) -> None:
    for word in words:
        if assignment := _ASSIGNMENT.fullmatch(word):
            if not re.search(rf"\b{assignment[1]}\b", MAKEFILE):
                raise Wrong(f"the Makefile knows no {assignment[1]}")
        elif word not in TARGETS:
            raise Wrong(f"make has no target {word}")


def _check_module(module: str, words: list[str]) -> None:
    if find_spec(module) is None:
        raise Wrong(f"there is no module {module}")
    if module.startswith("services."):
        path = [word for word in words if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"]
        told = _help_of(module, *path)
        for word in words:
            if word.startswith("--") and word.partition("=")[0] not in told:
                raise Wrong(f"{module} has no {word}")


@functools.cache
def _help_of(module: str, *path: str) -> str:
    command = python("-m", module, *path, "--help")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Wrong(f"{module} {' '.join(path)}: {done.stderr.strip()}")
    return done.stdout


def check_span(span: str) -> None:
    """The same for a mention in a text, whose arguments may be left out."""
    words = span.replace(",", " ").split()[1:]
    found: click.Command = cli
    context = click.Context(cli, info_name="polybatch")
    while isinstance(found, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        below = found.get_command(context, words.pop(0))
        if below is None:
            raise Wrong(f"there is no such command: {span}")
        found = below
    own = {name for each in found.params for name in (*each.opts, *each.secondary_opts)}
    shared = {name for each in grammar.EVERYWHERE for name in (*each.opts, *each.secondary_opts)}
    for word in words:
        if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in {
            *own,
            *shared,
            "--help",
            "-h",
            "--version",
        }:
            raise Wrong(f"{found.name} has no {word}: {span}")
