"""`verify`: whether any byte of the log, or of an export, was changed, and what was done to it."""

import re
from argparse import ArgumentParser, Namespace
from functools import partial

import msgspec

from huajuan.audit.connection import newest, stream_ids
from huajuan.audit.errors import AuditError
from huajuan.audit.exports import open_export, pages_of, read_header
from huajuan.audit.gaps import first_gap
from huajuan.audit.log_pages import log_pages
from huajuan.audit.signed_heads import Head, read_head
from huajuan.audit.verify import Claim, Verdict, verify
from huajuan.cli.arguments import file_named
from huajuan.cli.command import Verb
from huajuan.cli.output import log_of, result, result_as_json
from huajuan.cli.picture_report import Stored, compare_stored
from huajuan.cli.progress import progress
from huajuan.settings import Settings

_KEY = re.compile(r"[0-9a-f]{64}")


def _words(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="an export; without one, the log is verified")
    parser.add_argument(
        "--against", action="append", default=[], metavar="HEAD", help="a published head; may be given again"
    )
    parser.add_argument("--public-key", metavar="HEX", help="only heads signed with this key count")
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="also compare every stored picture with the digest that the log has on record, and name those that "
        "are missing or changed; uploaded avatars have none. Deleted and erased pictures need not be there",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.epilog = (
        "Exit status: 0 if all is whole, 1 if it is not or could not be looked at, 130 if told to stop."
    )


def _act(settings: Settings, words: Namespace) -> int:
    key = _public_key(words.public_key)
    heads = {path: read_head(file_named(path)) for path in words.against}
    if key and not heads:
        raise AuditError("--public-key says whose heads count: name them with --against")
    if words.file is not None and words.pictures:
        raise AuditError("--pictures compares with the log itself: give no FILE")
    if words.file is None:
        verdict = _verify_log(settings, heads, key)
    else:
        verdict = _verify_file(file_named(words.file), heads, key)
    if not words.json:
        _tell(verdict)
    pictures = compare_stored(settings, tell=not words.json) if words.pictures else None
    whole = verdict.whole and (pictures is None or pictures.whole)
    if words.json:
        found = msgspec.to_builtins(verdict) | {"whole": whole}
        result_as_json(found | ({"pictures": pictures} if pictures else {}))
    else:
        result(
            "whole" if whole else "NOT PROVED WHOLE" if _is_only_unproved(verdict, pictures) else "NOT WHOLE"
        )
    return 0 if whole else 1


def _is_only_unproved(verdict: Verdict, pictures: Stored | None) -> bool:
    return not verdict.damage and (pictures is None or pictures.whole)


def _public_key(text: str | None) -> str | None:
    if text is not None and not _KEY.fullmatch(text.lower()):
        raise AuditError("--public-key must be 64 hexadecimal digits")
    return text and text.lower()


def _verify_log(settings: Settings, heads: dict[str, Head], key: str | None) -> Verdict:
    """Up to the event that is the last when it begins; the service may go on meanwhile."""
    with log_of(settings) as connection:
        last, _ = newest(connection)
        claim = Claim(str(stream_ids(connection).installation()))
        with progress("verify", last) as told:
            return verify(
                log_pages(connection, last), claim, heads, key, told, partial(first_gap, connection)
            )


def _verify_file(path: str, heads: dict[str, Head], key: str | None) -> Verdict:
    with open_export(path) as file:
        header = read_header(file, path)
        before = header.first - 1
        claim = Claim(header.installation, before, bytes.fromhex(header.chain), header.last)
        with progress("verify", header.last - before) as told:
            return verify(pages_of(file), claim, heads, key, lambda position: told(position - before))


def _tell(verdict: Verdict) -> None:
    if verdict.damage:
        result(f"DAMAGED at position {verdict.damage.position}: {verdict.damage.kind}: {verdict.damage.says}")
    if verdict.position == 0 and not verdict.damage:
        result("the log has no events")
    if verdict.position > verdict.began_at:
        result(f"positions {verdict.began_at + 1} to {verdict.position} hold together, up to {verdict.chain}")
    for head in verdict.heads:
        result(f"{_WORDS[head.holds]} head {head.name} of position {head.position}: {head.says}")


_WORDS = {True: "ok", False: "BAD", None: "not looked at:"}
VERIFY = Verb("verify", "prove that no byte of the log, or of an export, was changed", _act, _words)
