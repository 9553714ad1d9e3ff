"""What an admin's reason may be."""

from huajuan.domain.refusals import ReasonMissing, ReasonTooLong, ReasonUnprintable

REASON_CHARACTERS_MAX = 500


def check_reason(reason: str) -> None:
    """One line of printable text, 1 to 500 characters. Raises a `ReasonRefused`."""
    if not reason.strip():
        raise ReasonMissing
    if len(reason) > REASON_CHARACTERS_MAX:
        raise ReasonTooLong
    if not reason.isprintable():
        raise ReasonUnprintable
