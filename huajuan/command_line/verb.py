"""What a verb of the command line is."""

import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from huajuan.settings import Settings

STOPPED = 128 + signal.SIGINT


def _no_words(_: ArgumentParser) -> None:
    """Most verbs take no words of their own."""


@dataclass(frozen=True)
class Verb:
    """`act` returns the exit status: 0 only on success. `words` adds the verb's arguments to its parser.

    `stopped` is the exit status of one that is told to stop before it is done.
    """

    name: str
    help: str
    act: Callable[[Settings, Namespace], int]
    words: Callable[[ArgumentParser], None] = _no_words
    stopped: int = STOPPED
