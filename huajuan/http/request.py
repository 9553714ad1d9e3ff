"""Reads requests: JSON bodies as structs, and query parameters."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from huajuan.domain.credentials import normalize_username
from huajuan.domain.image import ImageParameters
from huajuan.domain.rules import REASON_CHARACTERS_MAX, check_reason
from huajuan.http import messages
from huajuan.http.errors import ErrorTable, UnreadableBody, invalid_parameter, mapped_errors, result_error
from huajuan.projections.queries import InvalidCursor, decode_cursor
from huajuan.projections.queries.images import ImageFilter, Sort

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


T = TypeVar("T")
WHOLE_NUMBER_MAX = 2**63 - 1
# Some clients send this date for "no end"; the day after it cannot be represented.
LAST_DAY = "9999-12-31"
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_RESOLUTION = timedelta(microseconds=1)
_CURSOR_ERRORS: ErrorTable = {InvalidCursor: invalid_parameter("after")}


class InvalidTime(Exception):
    """The text is neither a date nor a time."""


def query_of(
    request: Request[Any, Any, Any], error_of: Callable[[str], Exception] = invalid_parameter
) -> dict[str, str]:
    """All parameters that are not empty. Raises `error_of(name)` for a repeated one or one with a NUL."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given or "\0" in value:
            raise error_of(name)
        given[name] = value
    return {name: value for name, value in given.items() if value}


def image_query(given: dict[str, str], zone: ZoneInfo) -> ImageFilter:
    """The order and the filters of a list of images. Raises `ApiError`."""
    order = read_parameter(given, "order", _one_of("asc", "desc"))
    return ImageFilter(
        sort=read_parameter(given, "sort", _one_of(*get_args(Sort))) or "time",  # type: ignore[arg-type]
        descending=order == "desc",
        username=read_parameter(given, "username", normalize_username),
        prompt=given.get("prompt"),
        width=read_parameter(given, "width", whole_number),
        height=read_parameter(given, "height", whole_number),
        steps=read_parameter(given, "steps", whole_number),
        sampling_method=read_parameter(given, "sampling_method", _one_of(*SAMPLING_METHODS)),
        start_time=read_parameter(given, "start_time", lambda text: start_of(text, zone)),
        end_time=read_parameter(given, "end_time", lambda text: end_of(text, zone)),
        after=given.get("after"),
    )


def limit_of(given: dict[str, str], most: int) -> int:
    """The number of rows of a page, `most` by default. Raises `ApiError`."""
    limit = read_parameter(given, "limit", whole_number)
    if limit is not None and not 1 <= limit <= most:
        raise invalid_parameter("limit")
    return limit or most


def after_id(given: dict[str, str]) -> int:
    """The id after which the page begins. Raises `ApiError`."""
    return read_parameter(given, "after", whole_number) or 0


def cursor_in(given: dict[str, str], kind: Any, default: T) -> T:
    """The cursor in `after`, as `kind`. Raises `ApiError`."""
    with mapped_errors(_CURSOR_ERRORS):
        cursor: T = decode_cursor(given["after"], kind) if "after" in given else default
        return cursor


def whole_number(text: str) -> int:
    """Raises `ValueError` for anything but decimal digits of a non-negative 64-bit integer."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= WHOLE_NUMBER_MAX):
        raise ValueError(text)
    return int(text)


def read_parameter(given: dict[str, str], name: str, read: Callable[[str], T]) -> T | None:
    """`None` if the parameter is absent. Raises `ApiError` if `read` fails."""
    try:
        return read(given[name]) if name in given else None
    except (ValueError, InvalidTime):
        raise invalid_parameter(name) from None


def start_of(text: str, zone: ZoneInfo) -> datetime:
    """An inclusive lower bound; a date begins at its midnight in `zone`. Raises `InvalidTime`."""
    return _day(text, zone) if _DATE.fullmatch(text) else _time(text)


def end_of(text: str, zone: ZoneInfo) -> datetime:
    """An inclusive upper bound; a date is the whole day in `zone`. Raises `InvalidTime`."""
    if text == LAST_DAY:
        return END_OF_TIME
    return _day(text, zone, days_later=1) - _RESOLUTION if _DATE.fullmatch(text) else _time(text)


def _one_of(*words: str) -> Callable[[str], str]:
    return lambda text: words[words.index(text)]


def _time(text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise InvalidTime
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime from None


def _day(text: str, zone: ZoneInfo, days_later: int = 0) -> datetime:
    try:
        day = datetime.fromisoformat(text).date() + timedelta(days=days_later)
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime from None
