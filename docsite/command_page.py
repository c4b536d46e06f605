"""docs/reference/cli.md, made of the commands as Click knows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from polybatch.cli import grammar
from polybatch.cli.program import cli

from docsite.markdown import cell, notice, prose, table

_SOURCE = "clients/python/src/polybatch/cli"


def page() -> str:
    """All commands, with their options and examples."""
    context = click.Context(cli, info_name="polybatch")
    return "\n".join(
        [
            notice(_SOURCE),
            "# The command line",
            "",
            prose(cli.help or ""),
            "",
            "Each command's `--help` says the same. The options of the next section may stand",
            "before or after any command.",
            "",
            "## Options of all commands",
            "",
            *_options(context, grammar.EVERYWHERE),
            "`polybatch --version` prints the version.",
            "",
            "## Examples, exit codes, environment",
            "",
            "```text",
            cli.example.rstrip(),
            "```",
            "",
            *_commands(cli, context, 2),
        ]
    )


def walk(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    """The commands of a group, and those below them."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        yield command, below
        if isinstance(command, click.Group):
            yield from walk(command, below)


def _commands(group: click.Group, context: click.Context, level: int) -> Iterator[str]:
    for command, below in walk(group, context):
        depth = below.command_path.count(" ")
        yield f"{'#' * (level + depth - 1)} {below.command_path}"
        yield ""
        yield prose(command.help or "")
        yield ""
        yield from ["```text", command.get_usage(below).removeprefix("Usage: "), "```", ""]
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        yield from table(
            ("argument", "what"),
            [(f"`{each.make_metavar(below)}`", cell(each.help or "")) for each in arguments],
        )
        yield from _options(below, command.params)
        if isinstance(command, grammar.Command):
            example = command.example_in(below).strip()
            language = "text" if "\n" in example else "sh"
            yield from [f"```{language}", example, "```", ""]


def _options(context: click.Context, parameters: Sequence[click.Parameter]) -> list[str]:
    shared = grammar.EVERYWHERE if parameters is not grammar.EVERYWHERE else []
    records = [
        each.get_help_record(context)
        for each in parameters
        if isinstance(each, click.Option) and each not in shared
    ]
    return table(
        ("option", "what"),
        [
            (f"`{record[0].replace('|', chr(92) + '|')}`", cell(record[1]))
            for record in records
            if record
        ],
    )
