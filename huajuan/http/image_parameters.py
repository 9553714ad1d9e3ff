"""Reads an order for a picture, field by field: the first one that fails is the one named."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import msgspec

from huajuan.domain.image_parameters import Order
from huajuan.http import messages
from huajuan.http.errors import Refusal

PROMPT_CHARACTERS_MAX = 4000
SIDE_PIXELS_MIN, SIDE_PIXELS_MAX = 128, 1024
STEPS_MIN, STEPS_MAX = 1, 100
SamplingMethod = Literal["DDIM", "PLMS", "K-LMS"]
SAMPLING_METHODS: tuple[str, ...] = get_args(SamplingMethod)
SAMPLING_METHOD_DEFAULT: SamplingMethod = "DDIM"

Side = Annotated[int, msgspec.Meta(ge=SIDE_PIXELS_MIN, le=SIDE_PIXELS_MAX)]


class OrderForm(msgspec.Struct, kw_only=True):
    """What to draw, as the OpenAPI document shows it; `read_order` is what reads it."""

    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=PROMPT_CHARACTERS_MAX)]
    width: Side
    height: Side
    steps: Annotated[int, msgspec.Meta(ge=STEPS_MIN, le=STEPS_MAX)]
    sampling_method: SamplingMethod = SAMPLING_METHOD_DEFAULT
    seed: Annotated[str, msgspec.Meta(min_length=1)] | int


def read_order(given: dict[str, Any]) -> Order:
    """An absent sampling method is the default. Raises `Refusal` with the text of the first field that fails."""
    given = {"sampling_method": SAMPLING_METHOD_DEFAULT, **given}
    for name, fits, text in _RULES:
        if not fits(given.get(name)):
            raise Refusal(400, success=False, message=text)
    fields = {name: given[name] for name in Order.__dataclass_fields__}
    return Order(**fields | {"seed": str(given["seed"])})


def _within(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_short(value: str) -> bool:
    return len(value) <= PROMPT_CHARACTERS_MAX


def _is_seed(value: Any) -> bool:
    return _is_text(value) or type(value) is int


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("prompt", _is_text, messages.PROMPT_MISSING),
    ("prompt", _is_short, messages.PROMPT_TOO_LONG),
    ("width", _within(SIDE_PIXELS_MIN, SIDE_PIXELS_MAX), messages.WIDTH_OUT_OF_RANGE),
    ("height", _within(SIDE_PIXELS_MIN, SIDE_PIXELS_MAX), messages.HEIGHT_OUT_OF_RANGE),
    ("steps", _within(STEPS_MIN, STEPS_MAX), messages.STEPS_OUT_OF_RANGE),
    ("sampling_method", lambda value: value in SAMPLING_METHODS, messages.METHOD_OUT_OF_RANGE),
    ("seed", _is_seed, messages.SEED_MISSING),
)
