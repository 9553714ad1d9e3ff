"""`serve`: runs the REST API until a stop signal."""

from argparse import Namespace

from huajuan.cli.command import CliCommand
from huajuan.server.serve import serve
from huajuan.settings import Settings


def _run(settings: Settings, _: Namespace) -> int:
    serve(settings)
    return 0


SERVE = CliCommand(
    "serve",
    "serve the REST API (settings are HUAJUAN_… variables, see docs/settings.md)",
    _run,
    runs_until_stopped=True,
)
