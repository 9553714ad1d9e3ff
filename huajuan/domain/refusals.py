"""Every reason for which a command is refused, in the words of the clerk who refuses.

Refused
├── NotRegistered            there is no such account
├── WrongPassword
├── FormRefused              something on the registration or profile form is wrong
│   ├── NameMissing  NameUnfit  NameTaken
│   ├── EmailMissing  EmailMalformed  EmailTaken
│   └── PasswordTooShort
├── AlreadyCheckedIn         the day's points are already given
├── NotEnoughPoints
├── NothingHeld              no points are held for this image
└── AlreadyTold              the drawing's end is already on record
"""


class Refused(Exception):
    """The command would break a rule; nothing was appended."""


class NotRegistered(Refused):
    """There is no such account."""


class WrongPassword(Refused):
    """The password does not match."""


class FormRefused(Refused):
    """Something on the form is wrong."""


class NameMissing(FormRefused):
    """The username is empty."""


class NameUnfit(FormRefused):
    """The username is too long or holds control characters."""


class NameTaken(FormRefused):
    """Another account has this username, or once had it."""


class EmailMissing(FormRefused):
    """The e-mail address is empty."""


class EmailMalformed(FormRefused):
    """The e-mail address cannot be one."""


class EmailTaken(FormRefused):
    """Another account uses this e-mail address."""


class PasswordTooShort(FormRefused):
    """The password has too few characters."""


class AlreadyCheckedIn(Refused):
    """The day's points are already given; `balance` is what the account has."""

    def __init__(self, balance: int) -> None:
        super().__init__(balance)
        self.balance = balance


class NotEnoughPoints(Refused):
    """The account has fewer points than the picture costs."""


class NothingHeld(Refused):
    """No points are held for this image."""


class AlreadyTold(Refused):
    """The drawing's end is already on record."""
