"""The base class of errors that an operator causes or must mend."""


class OperatorError(Exception):
    """The command line prints the message, which has one line with the reason, and exits with 1."""
