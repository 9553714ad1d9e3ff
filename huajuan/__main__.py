"""Entry point of the command line: `huajuan COMMAND`."""

import os
import sys
from typing import NoReturn

from huajuan.cli.stdio import decode_arguments, discard_unwritable_output, replace_closed_streams
from huajuan.runtime.shutdown import (
    EXIT_INTERRUPTED,
    ShutdownRequested,
    ignore_stop_signals,
    raise_on_stop_signals,
)


def main() -> int:
    """Returns 0 only on success. For `serve`, a stop signal is a success."""
    replace_closed_streams()
    decode_arguments()
    try:
        raise_on_stop_signals()
        # Imported after the signal handlers are set, because imports take a while.
        from huajuan.cli.main import run

        return run()
    except ShutdownRequested:
        return 0 if sys.argv[1:2] == ["serve"] else EXIT_INTERRUPTED
    finally:
        ignore_stop_signals()


def run_and_exit() -> NoReturn:
    """Writes what is left of the output, and ends the process without finalizing the interpreter.

    A thread of the object store library may call back into Python after its result has arrived. While the
    interpreter is finalized, this aborts the process: SIGABRT instead of the exit status.
    """
    status = main()
    discard_unwritable_output()
    os._exit(status)


if __name__ == "__main__":
    run_and_exit()
