"""What `verify --pictures` says of the stored pictures."""

from collections import Counter

import msgspec

from huajuan.audit.connection import newest
from huajuan.audit.errors import AuditError
from huajuan.audit.stored_pictures import Compared, Fault, compare
from huajuan.cli.output import log_of, printable, result
from huajuan.cli.progress import progress
from huajuan.observability.redaction import without_address_secrets
from huajuan.settings import PREFIX, Settings
from huajuan.storage.pictures import Pictures, PlaceUnusable

# A store that lost everything still fits into memory.
NAMED_MAX = 10_000


class Faulty(msgspec.Struct):
    """A picture that is not what the log says; `position` is that of its `image.drawn`."""

    picture: str
    position: int
    fault: Fault
    detail: str


class Stored(msgspec.Struct):
    """How many pictures are as the log says, or are gone as it says; of the others at most `NAMED_MAX` are named."""

    whole: bool
    same: int
    gone: int
    missing: int
    changed: int
    unreadable: int
    faults: list[Faulty]


def compare_stored(settings: Settings, *, tell: bool) -> Stored:
    """Names faults as they are found if it is to `tell`. Raises `AuditError`."""
    counts: Counter[str] = Counter()
    faults: list[Faulty] = []
    with log_of(settings) as connection:
        last, _ = newest(connection)
        with progress("verify pictures", last) as told:
            for one in compare(connection, _pictures(settings), last, told):
                counts["gone" if one.is_gone else one.fault or "same"] += 1
                if one.fault:
                    _note(one, one.fault, faults, tell=tell)
    names = ("same", "gone", "missing", "changed", "unreadable")
    found = {name: counts[name] for name in names}
    stored = Stored(whole=not any(found[name] for name in names[2:]), **found, faults=faults)
    if tell:
        result(
            f"{stored.same:,} pictures as on record, {stored.gone:,} gone as on record, {stored.missing:,} missing, "
            f"{stored.changed:,} changed, {stored.unreadable:,} unreadable; avatars have no digest on record"
        )
    return stored


def _pictures(settings: Settings) -> Pictures:
    place = settings.storage_place
    try:
        return Pictures.at(place, make=False)
    except PlaceUnusable as error:
        reason = without_address_secrets(str(error), place)
        raise AuditError(f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {reason}") from None


def _note(one: Compared, fault: Fault, faults: list[Faulty], *, tell: bool) -> None:
    if len(faults) < NAMED_MAX:
        faults.append(Faulty(one.picture, one.position, fault, one.detail))
    if tell:
        why = f": {printable(one.detail)}" if one.detail else ""
        result(f"{fault.upper()} picture {printable(one.picture)} of position {one.position}{why}")
