"""What an auditor asked for that cannot be done."""


class AuditError(Exception):
    """The message says in one line what is wrong with what was asked or given."""


class Unreadable(Exception):
    """What stands at this place of a file is no row; the message says why."""
