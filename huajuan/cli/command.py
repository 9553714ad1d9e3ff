"""What a verb of the command line is."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from huajuan.settings import Settings


class CannotDo(Exception):
    """A verb cannot do what it was told; the message says why, in one line."""


def _no_words(_: ArgumentParser) -> None:
    """Most verbs take no words of their own."""


@dataclass(frozen=True)
class Verb:
    """`act` returns the exit status: 0 only on success. `words` adds the verb's arguments to its parser.

    A verb `ends_when_told` if it has no other end; for any other, to be told to stop is no success.
    """

    name: str
    help: str
    act: Callable[[Settings, Namespace], int]
    words: Callable[[ArgumentParser], None] = _no_words
    ends_when_told: bool = False
