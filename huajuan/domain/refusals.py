"""The business errors: each is a rule that a command would break. A refused command appends nothing."""


class Refused(Exception):
    """The command would break a rule; nothing was appended."""


class NotRegistered(Refused):
    """No such account exists."""


class WrongPassword(Refused):
    """The password does not match."""


class AccountBanned(Refused):
    """An admin banned the account. Raised only after the password was verified."""


class AccountPending(Refused):
    """The account waits for an admin's approval. Raised only after the password was verified."""


class FormInvalid(Refused):
    """A field of a form is invalid."""


class UsernameMissing(FormInvalid):
    """The username is empty."""


class UsernameInvalid(FormInvalid):
    """The username is too long, not fully visible, or not usable in a URL path."""


class UsernameTaken(FormInvalid):
    """Another account has this username, or had it before it was erased."""


class EmailMissing(FormInvalid):
    """The e-mail address is empty."""


class EmailMalformed(FormInvalid):
    """The text is not an e-mail address."""


class EmailTaken(FormInvalid):
    """Another account uses this e-mail address."""


class PasswordTooShort(FormInvalid):
    """The password has too few characters."""


class AlreadyCheckedIn(Refused):
    """The account checked in for this day already; `balance` is its balance."""

    def __init__(self, balance: int) -> None:
        super().__init__(balance)
        self.balance = balance


class NotEnoughPoints(Refused):
    """The balance is lower than the points to hold or deduct."""


class PointsInvalid(Refused):
    """The number of points to grant or deduct is out of range."""


class BalanceOutOfRange(Refused):
    """The account would have, or owe, more points than an account may."""


class ReasonInvalid(Refused):
    """The reason of an admin's act is not acceptable."""


class ReasonMissing(ReasonInvalid):
    """The reason is empty or only white space."""


class ReasonTooLong(ReasonInvalid):
    """The reason has too many characters."""


class ReasonUnprintable(ReasonInvalid):
    """The reason contains a line break or another unprintable character."""


class AlreadyBanned(Refused):
    """The account is banned already."""


class NotBanned(Refused):
    """The account is not banned."""


class NotPending(Refused):
    """The account does not wait for an admin's approval."""


class NoPointsHeld(Refused):
    """No points are held for this image."""


class ImageAlreadyFinished(Refused):
    """The outcome of the image is recorded already: drawn, failed or cancelled."""


class AvatarUrlInvalid(FormInvalid):
    """The avatar's address is not one that a browser may be sent to."""


class ImageNotFound(Refused):
    """The image does not exist, is not visible, or belongs to another account."""


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


class ServerAddressInvalid(FormInvalid):
    """The text is not the address of an inference server."""


class ServerAddressHasCredentials(ServerAddressInvalid):
    """The address has a user, password or query. These may be in the settings, but never on record."""


class ServerAlreadyAdded(Refused):
    """The inference server is in use already."""


class ServerNotFound(Refused):
    """The inference server is not in use."""


class AlreadySkipped(Refused):
    """The read table skips this event already."""
