"""What an auditor asked for that cannot be done."""


class AuditError(Exception):
    """The message says in one line what is wrong with what was asked or given."""


def unreadable(position: int) -> AuditError:
    """An event that none of ours could be."""
    return AuditError(f"the event at position {position} cannot be read; verify finds what was done to it")


class AuditGap(AuditError):
    """Events of a stream are missing, so that nothing can be said of what follows."""


def gap_before(position: int) -> AuditGap:
    return AuditGap(
        f"events are missing from the stream before the one at position {position}; verify names it"
    )


class Unreadable(Exception):
    """What stands at this place of a file is no row; the message says why."""
