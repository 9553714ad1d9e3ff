"""`serve`: the REST API, until told to stop."""

from argparse import Namespace

from huajuan.cli.command import Verb
from huajuan.server.serve import serve
from huajuan.settings import Settings


def _act(settings: Settings, _: Namespace) -> int:
    serve(settings)
    return 0


SERVE = Verb(
    "serve", "serve the REST API (settings are HUAJUAN_… variables, see README)", _act, ends_when_told=True
)
