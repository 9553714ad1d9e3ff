"""`verify`: whether any byte of the log, of an export, or of the stored pictures was changed."""

import re
from argparse import ArgumentParser, Namespace
from collections import Counter
from functools import partial

import msgspec

from huajuan.audit.connection import AuditError, read_log_head, stream_ids
from huajuan.audit.exports import open_export, read_header, read_pages
from huajuan.audit.hash_chain import log_pages
from huajuan.audit.stream_gaps import find_first_gap
from huajuan.audit.verify import Head, Verdict, VerificationTarget, read_head, verify
from huajuan.cli.arguments import require_file_name
from huajuan.cli.database import open_log
from huajuan.cli.output import print_json, print_result, printable, progress
from huajuan.runtime.redaction import without_address_secrets
from huajuan.settings import PREFIX, Settings

# Bounds the memory of the report if the store has lost all pictures.
FAULTS_MAX = 10_000
_KEY = re.compile(r"[0-9a-f]{64}")
_HEAD_RESULTS = {True: "ok", False: "BAD", None: "not looked at:"}


class FaultyPicture(msgspec.Struct):
    """A picture that differs from the log; `position` is that of its `image.drawn`."""

    picture: str
    position: int
    fault: str
    detail: str

    def __str__(self) -> str:
        detail = f": {printable(self.detail)}" if self.detail else ""
        return f"{self.fault.upper()} picture {printable(self.picture)} of position {self.position}{detail}"


class PictureReport(msgspec.Struct):
    """The number of pictures with each result; `faults` has at most `FAULTS_MAX` of the faulty ones."""

    whole: bool
    same: int
    gone: int
    missing: int
    changed: int
    unreadable: int
    faults: list[FaultyPicture]

    def __str__(self) -> str:
        return (
            f"{self.same:,} pictures as on record, {self.gone:,} gone as on record, "
            f"{self.missing:,} missing, {self.changed:,} changed, "
            f"{self.unreadable:,} unreadable; avatars have no digest on record"
        )


def add_verify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="an export; without one, the log is verified")
    parser.add_argument(
        "--against", action="append", default=[], metavar="HEAD", help="a published head; may be repeated"
    )
    parser.add_argument("--public-key", metavar="HEX", help="accept only heads signed with this key")
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="also compare each stored picture with the digest in the log, and list missing and changed "
        "ones; uploaded avatars have no digest. Deleted and erased pictures may be missing",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "Exit status: 0 if everything is whole, 1 if it is not or could not be verified, "
        "130 after a stop signal."
    )


def run_verify(settings: Settings, arguments: Namespace) -> int:
    verdict = _verify(settings, arguments)
    if not arguments.json:
        _print_verdict(verdict)
    pictures = verify_pictures(settings, quiet=arguments.json) if arguments.pictures else None
    pictures_are_whole = pictures is None or pictures.whole
    whole = verdict.whole and pictures_are_whole
    if arguments.json:
        report = msgspec.to_builtins(verdict) | {"whole": whole}
        print_json(report | ({"pictures": pictures} if pictures else {}))
    else:
        unproved = not verdict.damage and pictures_are_whole
        print_result("whole" if whole else "NOT PROVED WHOLE" if unproved else "NOT WHOLE")
    return 0 if whole else 1


def _verify(settings: Settings, arguments: Namespace) -> Verdict:
    key = arguments.public_key and arguments.public_key.lower()
    if key is not None and not _KEY.fullmatch(key):
        raise AuditError("--public-key must be 64 hexadecimal digits")
    heads = {path: read_head(require_file_name(path)) for path in arguments.against}
    if key and not heads:
        raise AuditError("--public-key applies to heads: name them with --against")
    if arguments.file is None:
        return _verify_log(settings, heads, key)
    if arguments.pictures:
        raise AuditError("--pictures compares with the log itself: omit FILE")
    return _verify_file(require_file_name(arguments.file), heads, key)


def _verify_log(settings: Settings, heads: dict[str, Head], key: str | None) -> Verdict:
    """Up to the last event at the start; the service may append events meanwhile."""
    with open_log(settings) as connection:
        last, _ = read_log_head(connection)
        target = VerificationTarget(str(stream_ids(connection).installation()))
        find_gap = partial(find_first_gap, connection)
        with progress("verify", last) as on_progress:
            return verify(log_pages(connection, last), target, heads, key, on_progress, find_gap)


def _verify_file(path: str, heads: dict[str, Head], key: str | None) -> Verdict:
    with open_export(path) as file:
        header = read_header(file, path)
        before = header.first - 1
        target = VerificationTarget(header.installation, before, bytes.fromhex(header.chain), header.last)
        with progress("verify", header.last - before) as show:
            return verify(read_pages(file), target, heads, key, lambda position: show(position - before))


def _print_verdict(verdict: Verdict) -> None:
    if damage := verdict.damage:
        print_result(f"DAMAGED at position {damage.position}: {damage.kind}: {damage.says}")
    elif verdict.position == 0:
        print_result("the log has no events")
    if verdict.position > verdict.began_at:
        first = verdict.began_at + 1
        print_result(f"positions {first} to {verdict.position} hold together, up to {verdict.chain}")
    for head in verdict.heads:
        print_result(f"{_HEAD_RESULTS[head.holds]} head {head.name} of position {head.position}: {head.says}")


def verify_pictures(settings: Settings, *, quiet: bool) -> PictureReport:
    """Compares the stored pictures with the log; prints the faults unless `quiet`.

    Raises `AuditError` if the store is unavailable.
    """
    from huajuan.audit.stored_pictures import check_pictures
    from huajuan.storage.pictures import Pictures, StorageUnusable

    counts: Counter[str] = Counter()
    faults: list[FaultyPicture] = []
    try:
        pictures = Pictures.at(settings.storage_place, make=False)
    except StorageUnusable as error:
        reason = without_address_secrets(str(error), settings.storage_place)
        raise AuditError(f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {reason}") from None
    with open_log(settings) as connection:
        last, _ = read_log_head(connection)
        with progress("verify pictures", last) as on_progress:
            for check in check_pictures(connection, pictures, last, on_progress):
                counts["gone" if check.is_gone else check.fault or "same"] += 1
                if check.fault:
                    fault = FaultyPicture(check.picture, check.position, check.fault, check.detail)
                    if len(faults) < FAULTS_MAX:
                        faults.append(fault)
                    if not quiet:
                        print_result(str(fault))
    names = ("same", "gone", "missing", "changed", "unreadable")
    found = {name: counts[name] for name in names}
    report = PictureReport(whole=not any(found[name] for name in names[2:]), **found, faults=faults)
    if not quiet:
        print_result(str(report))
    return report
