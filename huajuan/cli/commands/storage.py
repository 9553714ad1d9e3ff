"""`storage`: which store holds the pictures."""

from argparse import ArgumentParser, Namespace

from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is
from huajuan.cli.output import aside, result
from huajuan.server.picture_store import IN_MEMORY, adopt_store
from huajuan.settings import Settings


def _words(parser: ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act_on_storage", required=True, metavar="ACT")
    text = "make the store of HUAJUAN_STORAGE_URL the one that holds this installation's pictures"
    acts.add_parser("adopt", help=text, description=text)


def _act(settings: Settings, _: Namespace) -> int:
    if settings.storage_place.startswith(IN_MEMORY):
        raise CannotDo("a store in memory belongs to nobody: it ends with its process")
    with database_there_is(settings) as database:
        adopted = adopt_store(settings, database.dsn)
    if adopted.is_new:
        result(
            f"{settings.storage_shown} holds the pictures of this installation from now on; before, it belonged to "
            f"{adopted.before}"
        )
    else:
        result(f"{settings.storage_shown} holds the pictures of this installation already")
    if adopted.sampled:
        result(f"{adopted.found} of {adopted.sampled} sampled pictures are in it")
    if adopted.found < adopted.sampled:
        aside("the missing ones are answered with 404 until they are copied into it")
    return 0


STORAGE = Verb("storage", "say which store holds the pictures", _act, _words)
