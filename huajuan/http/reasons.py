"""The reason in the body of an admin's act: how it is described, read and refused."""

from typing import Annotated, Any, Protocol

from litestar import Request, Response

from huajuan.domain.reasons import REASON_CHARACTERS_MAX, check_reason
from huajuan.domain.refusals import ReasonMissing, ReasonRefused, ReasonTooLong, ReasonUnprintable
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering, on_refusal
from huajuan.http.openapi.operations import Examples, document

Reason = Annotated[str, document(minLength=1, maxLength=REASON_CHARACTERS_MAX)]
REASON_ANSWERS: Answers = {
    ReasonMissing: Refusal(400, message=messages.REASON_MISSING),
    ReasonTooLong: Refusal(
        400,
        message=messages.REASON_TOO_LONG,
        error=messages.REASON_TOO_LONG_BECAUSE.format(most=REASON_CHARACTERS_MAX),
    ),
    ReasonUnprintable: Refusal(
        400, message=messages.REASON_UNPRINTABLE, error=messages.REASON_UNPRINTABLE_BECAUSE
    ),
}
REASON_REFUSALS: Examples = [refusal.body for refusal in REASON_ANSWERS.values()]


class HasReason(Protocol):
    """A form with a reason."""

    reason: str


def reason_in(form: HasReason) -> str:
    """Without white space around it. Raises a `ReasonRefused`."""
    reason = form.reason.strip()
    check_reason(reason)
    return reason


def on_reason_refused(request: Request[Any, Any, Any], refused: ReasonRefused) -> Response[Any]:
    """For every route that takes a reason."""
    try:
        with answering(REASON_ANSWERS):
            raise refused
    except Refusal as refusal:
        return on_refusal(request, refusal)
