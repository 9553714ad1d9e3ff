"""Every reason for which a command is refused, in the words of the clerk who refuses.

Refused
├── NotRegistered            there is no such account
├── WrongPassword
├── AccountBanned            who knows the password is told so
├── AccountPending           the account waits for an admin's approval
├── FormRefused              something on the registration or profile form is wrong
│   ├── NameMissing  NameUnfit  NameTaken
│   ├── AvatarUnfit
│   ├── EmailMissing  EmailMalformed  EmailTaken
│   └── PasswordTooShort
├── AlreadyCheckedIn         the day's points are already given
├── NotEnoughPoints
├── PointsUnfit              no such number of points can be given or taken
├── BalanceOutOfRange        the account would have, or owe, more points than an account may
├── ReasonRefused            an act of an admin needs a reason
│   └── ReasonMissing  ReasonTooLong  ReasonUnprintable
├── AlreadyBanned  NotBanned
├── NotPending               the account does not wait for an approval
├── NothingHeld              no points are held for this image
├── AlreadyTold              the drawing's end is already on record
├── ImageNotFound            there is no such picture to look at
├── AlreadyLiked  NotLiked
├── AlreadyFavorite  NotFavorite
├── AlreadyAdmin  NotAdmin
├── LastAdmin                without this account there would be no admin
└── AlreadySkipped           the read table leaves this event out already
"""


class Refused(Exception):
    """The command would break a rule; nothing was appended."""


class NotRegistered(Refused):
    """There is no such account."""


class WrongPassword(Refused):
    """The password does not match."""


class AccountBanned(Refused):
    """An admin banned the account."""


class AccountPending(Refused):
    """The account waits for an admin's approval."""


class FormRefused(Refused):
    """Something on the form is wrong."""


class NameMissing(FormRefused):
    """The username is empty."""


class NameUnfit(FormRefused):
    """The username is too long, cannot be seen whole, or cannot stand in a path of a URL."""


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


class PointsUnfit(Refused):
    """No such number of points can be given or taken."""


class BalanceOutOfRange(Refused):
    """The account would have, or owe, more points than an account may."""


class ReasonRefused(Refused):
    """An act of an admin needs a reason, and this cannot be one."""


class ReasonMissing(ReasonRefused):
    """There is no reason, or nothing but white space."""


class ReasonTooLong(ReasonRefused):
    """The reason has too many characters."""


class ReasonUnprintable(ReasonRefused):
    """The reason holds a line break or another character that cannot be printed."""


class AlreadyBanned(Refused):
    """The account is banned already."""


class NotBanned(Refused):
    """The account is not banned."""


class NotPending(Refused):
    """The account does not wait for an admin's approval."""


class NothingHeld(Refused):
    """No points are held for this image."""


class AlreadyTold(Refused):
    """The drawing's end is already on record."""


class AvatarUnfit(FormRefused):
    """The avatar's address is none that a browser may be sent to."""


class ImageNotFound(Refused):
    """There is no such picture to look at."""


class AlreadyLiked(Refused):
    """The account likes this picture already."""


class NotLiked(Refused):
    """The account does not like this picture."""


class AlreadyFavorite(Refused):
    """The picture is among the account's favorites already."""


class NotFavorite(Refused):
    """The picture is not among the account's favorites."""


class AlreadyAdmin(Refused):
    """The account has the admin role already."""


class NotAdmin(Refused):
    """The account does not have the admin role."""


class LastAdmin(Refused):
    """Without this account the service would have no admin."""


class PainterUnfit(FormRefused):
    """The painter's address is none that it could be reached at."""


class PainterAddressSecret(PainterUnfit):
    """The address has a user, a password or a query, which must not be recorded: it belongs in the setting."""


class AlreadyPainter(Refused):
    """This painter draws here already."""


class NotPainter(Refused):
    """This painter does not draw here."""


class AlreadySkipped(Refused):
    """The read table leaves this event out already."""
