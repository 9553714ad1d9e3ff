"""What an admin's reason may be."""

from huajuan.domain.refusals import ReasonMissing

REASON_CHARACTERS_MAX = 500


def check_reason(reason: str) -> None:
    """One line of printable text, 1 to 500 characters."""
    if not reason.strip() or len(reason) > REASON_CHARACTERS_MAX or not reason.isprintable():
        raise ReasonMissing
