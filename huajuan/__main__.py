"""The operator's command line."""

import sys

from huajuan.cli.stdio import arguments_as_utf8, make_whole
from huajuan.runtime.shutdown import TOLD_TO_STOP, StopAsked, stop_no_more, stop_on_signals


def main() -> int:
    """Exit 0 only on success; to be told to stop is one for a service, which has no other end."""
    make_whole()
    arguments_as_utf8()
    try:
        stop_on_signals()
        # Only now, for loading everything takes a second, and Ctrl-C must be understood in it too.
        from huajuan.cli.main import run

        return run()
    except StopAsked:
        # While it was still loading, and no verb could have its say.
        return 0 if sys.argv[1:2] == ["serve"] else TOLD_TO_STOP
    finally:
        stop_no_more()


if __name__ == "__main__":
    sys.exit(main())
