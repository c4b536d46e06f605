"""What every command needs: the client, the progress display and the output."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import polybatch
from polybatch.cli.absence import Absences
from polybatch.cli.listing import Listing
from polybatch.cli.output import to_json
from polybatch.cli.progress import Display, open_display
from polybatch.errors import PolybatchError, Unavailable

_WAIT_WORTH_TELLING = 1.0
_ABOUT_FILE = re.compile(r"(?<=`)polybatch (validate|convert) FILE\b")
"""What the library and the services advise, who do not know how the command was called."""


class UnusableInput(Exception):
    """A file named on the command line cannot be used, or options contradict each other."""


class RefusedFile(Exception):
    """No batch was made of an uploaded file: `error` says why, `reasons` by groups of lines.

    `kept` is the id of the file where it has not been deleted.
    """

    def __init__(self, error: PolybatchError, reasons: Sequence[str], kept: str = "") -> None:
        super().__init__(str(error))
        self.error = error
        self.reasons = reasons
        self.kept = kept


class NotConfirmed(Exception):
    """A batch may cost more than was allowed without a question, and nobody confirmed it.

    `kept` is the id of the uploaded file where it has not been deleted.
    """

    def __init__(self, message: str, next_step: str = "", *, kept: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.kept = kept


class Interrupted(Exception):
    """Ctrl-C, with what it means for what was going on, and what can be done next."""

    def __init__(self, message: str, *advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class Session:
    """One run of the command. Connects at the first use of `client`."""

    def __init__(self, name: str = "polybatch") -> None:
        self.name = name
        """How the command was called."""
        self.options: dict[str, Any] = {}
        """Of those that may stand before or after the command, what was given."""
        self.operator = False
        """Whether it is for `polybatch admin`, whose key is the operator's."""
        self._client: polybatch.Client | None = None
        self._absences = Absences(lambda text: self.display.tell(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, raised: BaseException | None, _trace: object) -> None:
        if "display" in self.__dict__:
            self.display.close()
        # Where Ctrl-C came in the midst of gRPC's bookkeeping (`_next` in grpc/_channel.py), its
        # thread fails when the channel is closed, and says so on the screen. The process ends now.
        if self._client is not None and not isinstance(raised, KeyboardInterrupt | Interrupted):
            self._client.close()

    def suspend(self, stop: Callable[[], None]) -> None:
        """Ctrl-Z: `stop` returns once the command is to go on."""
        if "display" in self.__dict__:
            self.display.suspend(stop)
        else:
            stop()

    @property
    def json(self) -> bool:
        """Whether output is for scripts."""
        return bool(self.options.get("json"))

    @cached_property
    def display(self) -> Display:
        """Where progress is shown."""
        return open_display(sys.stderr)

    @property
    def client(self) -> polybatch.Client:
        """The client. ConfigurationError where there is no key."""
        if self._client is None:
            self._client = polybatch.Client(
                **self._given(), on_retry=self._on_retry, on_back=self._absences.back
            )
        return self._client

    def hasty_client(self) -> polybatch.Client:
        """A client that tries once, for what is tidied up on the way out; to be closed."""
        hasty = polybatch.RetryPolicy(give_up_after=0, call_timeout=3.0)
        return polybatch.Client(**self._given() | {"wait": None}, retry=hasty)

    def emit(self, value: Any) -> None:
        """Writes one JSON document as a line to stdout."""
        print(to_json(value), flush=True)

    def say(self, text: str) -> None:
        """Writes a line of text to stdout."""
        print(text, flush=True)

    def tell_facts(self, facts: Sequence[tuple[str, str]], width: int) -> None:
        """Writes what each fact is called, in so many columns, and what it is, if anything."""
        with Listing({"name": width, "fact": 0}) as listing:
            for name, fact in facts:
                if fact:
                    listing.add(name, fact)

    def note(self, text: str) -> None:
        """Writes a human-readable line to stderr; scripts that asked for JSON are spared it."""
        if not self.json:
            self.display.note(text)

    def command(self, *words: str) -> str:
        """Returns a call of the command to paste: called as this one, for the same services."""
        for option, value in self.options.items():
            flag = f"--{option.replace('_', '-')}"
            match value:
                case True if option == "tls":
                    words = (*words, flag)
                case False:
                    words = (*words, f"--no-{option}")
                case str():
                    words = (*words, flag, value)
        return " ".join((self.name, *map(shlex.quote, words)))

    def about_file(self, text: str, file: str, *options: str) -> str:
        """Returns `text` with its advice about FILE to be pasted, `file` being as it was given.

        `options`: those of `validate` with which the file was read.
        """

        def call(found: re.Match[str]) -> str:
            return self.command(found[1], file, *(options if found[1] == "validate" else ()))

        return _ABOUT_FILE.sub(call, text)

    def _given(self) -> dict[str, Any]:
        """The options that are arguments of the client: all but one."""
        given = {name: value for name, value in self.options.items() if name != "json"}
        if self.operator and "api_key_file" not in given:
            # Here, as it loads gRPC.
            from polybatch.connection import operator_key_file

            given["api_key_file"] = operator_key_file()
        return given

    def _on_retry(self, error: PolybatchError, wait: float) -> None:
        if isinstance(error, Unavailable):
            addresses = self.client.connection.addresses(error.server)
            self._absences.note(error, wait, len(addresses), self.client.retry.give_up_after)
        elif wait >= _WAIT_WORTH_TELLING:
            self.display.trouble(f"{error.message}; trying again in {wait:.0f} s")


@contextmanager
def interruptible(message: str, *advice: str) -> Iterator[None]:
    """Says `message` if Ctrl-C comes in the block, then each advice on a line of its own."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message, *advice) from None


@contextmanager
def advising(session: Session, advice: str, output: str | None = None) -> Iterator[None]:
    """Adds a line of advice where a service was waited for in vain in the block.

    `output`: what is written in it, named where that cannot be done, as on a full disk.
    """
    try:
        yield
    except Unavailable:
        session.note(advice)
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        if output is not None:
            error.filename = error.filename or ("stdout" if output == "-" else output)
            session.note(advice)
        raise


@contextmanager
def opened_input(name: str) -> Iterator[tuple[BinaryIO, str]]:
    """Opens an input file, `-` being stdin; yields it with its human-readable name."""
    if name == "-":
        if sys.stdin is None:
            raise UnusableInput("stdin is closed; give it something to read, or name a file.")
        yield sys.stdin.buffer, "stdin"
        return
    path = Path(name)
    try:
        if path.is_dir():
            raise UnusableInput(f"{name} is a folder; name a JSONL file.")
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise UnusableInput(f"{name} cannot be read: {error.strerror}.") from error
    with file:
        # A raw file has all that an upload needs; a buffer would only copy.
        yield cast("BinaryIO", file), path.name


def tried_output(name: str, source: str | None = None) -> None:
    """Raises UnusableInput for an output file, `-` being stdout, that could not be written later.

    `source`: the input file, which the output would take the place of.
    """
    if name == "-":
        return
    path = Path(name)
    try:
        if path.is_dir():
            raise UnusableInput(f"{name} is a folder; name a file to be written (-o).")
        if source not in (None, "-") and path.exists() and path.samefile(str(source)):
            raise UnusableInput(f"{name} is the input file; name another to be written (-o).")
        if path.exists() and not path.is_file():
            # A device or a pipe is written in place, and opening it could wait for its reader.
            if not os.access(path, os.W_OK):
                raise UnusableInput(f"{name} cannot be written.")
            return
        # As the download does it: written beside its place first.
        trial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        trial.open("xb").close()
        trial.unlink()
    except OSError as error:
        raise UnusableInput(f"{name} cannot be written: {error.strerror}.") from error
