"""`storage`: decides which store holds the pictures of this installation."""

from argparse import ArgumentParser, Namespace

from huajuan.cli.database import existing_database
from huajuan.cli.output import log, print_result
from huajuan.runtime.errors import OperatorError
from huajuan.server.picture_store import IN_MEMORY, adopt_picture_store
from huajuan.settings import Settings


def add_storage_arguments(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act_on_storage", required=True, metavar="ACT")
    text = "make the store of HUAJUAN_STORAGE_URL the one that holds this installation's pictures"
    acts.add_parser("adopt", help=text, description=text)


def run_storage(settings: Settings, _: Namespace) -> int:
    if settings.storage_place.startswith(IN_MEMORY):
        raise OperatorError("a store in memory cannot be adopted: it ends with its process")
    with existing_database(settings) as database:
        adopted = adopt_picture_store(settings, database.dsn)
    since = f"from now on; before, it belonged to {adopted.before}" if adopted.is_new else "already"
    print_result(f"{settings.storage_shown} holds the pictures of this installation {since}")
    if adopted.sampled:
        print_result(f"{adopted.found} of {adopted.sampled} sampled pictures are in it")
    if adopted.found < adopted.sampled:
        log("the API answers 404 for the missing ones until they are copied into it")
    return 0
