"""Reads JSON request bodies strictly, whatever their content type."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from huajuan.domain.image import ImageParameters
from huajuan.domain.rules import REASON_CHARACTERS_MAX, check_reason
from huajuan.http import messages
from huajuan.http.errors import UnreadableBody, result_error

F = TypeVar("F", bound=msgspec.Struct)
PROMPT_CHARACTERS_MAX = 4000
SIDE_PIXELS_MIN, SIDE_PIXELS_MAX = 128, 1024
STEPS_MIN, STEPS_MAX = 1, 100
SamplingMethod = Literal["DDIM", "PLMS", "K-LMS"]
SAMPLING_METHODS: tuple[str, ...] = get_args(SamplingMethod)
SAMPLING_METHOD_DEFAULT: SamplingMethod = "DDIM"


def schema_keys(**keys: Any) -> msgspec.Meta:
    """Keys of the JSON schema in the OpenAPI document; they do not make the form stricter."""
    return msgspec.Meta(extra_json_schema=keys)


Reason = Annotated[str, schema_keys(minLength=1, maxLength=REASON_CHARACTERS_MAX)]


class ReasonForm(msgspec.Struct):
    """Why: it goes on record."""

    reason: Reason = ""


class HasReason(Protocol):
    """A form with a reason."""

    reason: str


async def read_form(request: Request[Any, Any, Any], form: type[F]) -> F:
    """Read the body as `form`; a null key counts as absent. Raises `UnreadableBody`."""
    given = {key: value for key, value in (await read_object(request)).items() if value is not None}
    try:
        return msgspec.convert(given, form)
    except msgspec.ValidationError:
        raise UnreadableBody from None


async def read_object(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Read the body as a dictionary. Raises `UnreadableBody`."""
    try:
        read = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InternalServerException):
        # Litestar raises the last one when the client disconnects before the end of its body.
        raise UnreadableBody from None
    if not isinstance(read, dict) or any(_has_nul(part) for item in read.items() for part in item):
        raise UnreadableBody
    return read


def reason_in(form: HasReason) -> str:
    """The reason without surrounding white space. Raises an error of `REASON_ERRORS`."""
    reason = form.reason.strip()
    check_reason(reason)
    return reason


def _has_nul(part: Any) -> bool:
    """Postgres stores no NUL. Deeper levels need no check: no route reads them."""
    return isinstance(part, str) and "\0" in part


Side = Annotated[int, msgspec.Meta(ge=SIDE_PIXELS_MIN, le=SIDE_PIXELS_MAX)]


class ImageParametersForm(msgspec.Struct, kw_only=True):
    """The picture to draw."""

    # Only for the OpenAPI document: `read_image_parameters` reads the body.

    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=PROMPT_CHARACTERS_MAX)]
    width: Side
    height: Side
    steps: Annotated[int, msgspec.Meta(ge=STEPS_MIN, le=STEPS_MAX)]
    sampling_method: SamplingMethod = SAMPLING_METHOD_DEFAULT
    seed: Annotated[str, msgspec.Meta(min_length=1)] | int


def read_image_parameters(given: dict[str, Any]) -> ImageParameters:
    """Check the fields in the order of the contract. Raises the `ApiError` of the first one that fails."""
    given = {"sampling_method": SAMPLING_METHOD_DEFAULT, **given}
    for name, is_valid, text in _RULES:
        if not is_valid(given.get(name)):
            raise result_error(400, text)
    fields = {name: given[name] for name in ImageParameters.__dataclass_fields__}
    return ImageParameters(**fields | {"seed": str(given["seed"])})


def _within(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("prompt", _is_text, messages.PROMPT_MISSING),
    ("prompt", lambda value: len(value) <= PROMPT_CHARACTERS_MAX, messages.PROMPT_TOO_LONG),
    ("width", _within(SIDE_PIXELS_MIN, SIDE_PIXELS_MAX), messages.WIDTH_OUT_OF_RANGE),
    ("height", _within(SIDE_PIXELS_MIN, SIDE_PIXELS_MAX), messages.HEIGHT_OUT_OF_RANGE),
    ("steps", _within(STEPS_MIN, STEPS_MAX), messages.STEPS_OUT_OF_RANGE),
    ("sampling_method", lambda value: value in SAMPLING_METHODS, messages.METHOD_OUT_OF_RANGE),
    ("seed", lambda value: _is_text(value) or type(value) is int, messages.SEED_MISSING),
)
GENERATE_FIELD_ERRORS = tuple(result_error(400, text) for _, _, text in _RULES)
