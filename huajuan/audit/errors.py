"""What an auditor asked for that cannot be done."""


class AuditError(Exception):
    """The message says in one line what is wrong with what was asked or given."""


def unreadable(position: int) -> AuditError:
    """An event that none of ours could be."""
    return AuditError(f"the event at position {position} cannot be read; verify finds what was done to it")


class Unreadable(Exception):
    """What stands at this place of a file is no row; the message says why."""
