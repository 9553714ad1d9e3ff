"""The operator's command line: `serve`."""

import argparse
import os
import sys

from huajuan.database import DatabaseUnusable
from huajuan.embedded_postgres import EmbeddedPostgresError
from huajuan.logs import configure_logs
from huajuan.serving.painter import PainterDidNotStart
from huajuan.serving.port import PortTaken
from huajuan.serving.serve import serve
from huajuan.settings import SettingsError, from_environment


def main() -> int:
    """Exit 0 only on success."""
    _parser().parse_args()
    configure_logs()
    try:
        return serve(from_environment(os.environ))
    except PortTaken as error:
        return _give_up(f"the port is taken: something else listens on {error}. Set HUAJUAN_PORT to another.")
    except (SettingsError, DatabaseUnusable, EmbeddedPostgresError) as error:
        return _give_up(str(error))
    except PainterDidNotStart:
        return _give_up("the demo painter did not start")
    except OSError as error:
        return _give_up(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="huajuan", description="画卷 huajuan: text to image on an event log."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="serve the REST API (settings are HUAJUAN_… variables, see README)")
    return parser


def _give_up(why: str) -> int:
    sys.stderr.write(f"huajuan: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
