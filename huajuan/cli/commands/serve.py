"""`serve`: runs the REST API until a stop signal."""

from argparse import ArgumentParser, Namespace

from huajuan.settings import Settings


def add_serve_arguments(_: ArgumentParser) -> None:
    """The settings are environment variables."""


def run_serve(settings: Settings, _: Namespace) -> int:
    from huajuan.server.serve import serve

    serve(settings)
    return 0
