"""The operator's command line."""

import sys

from huajuan.serving.stopping import StopAsked, stop_on_signals


def main() -> int:
    """Exit 0 only on success; to be told to stop is one."""
    try:
        stop_on_signals()
        # Only now, for loading everything takes a second, and Ctrl-C must be understood in it too.
        from huajuan.command_line.entry import run

        return run()
    except StopAsked:
        return 0


if __name__ == "__main__":
    sys.exit(main())
