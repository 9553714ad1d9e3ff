"""What a client asks to have drawn, and the number that its seed stands for."""

import hashlib
import re
from dataclasses import dataclass

NOISE_SEED_MAX = 2**64 - 1
_DECIMAL = re.compile(r"0*([0-9]{1,20})")


def noise_seed(seed: str) -> int:
    """The number, 0 to 2^64-1, that a client's seed stands for: itself where it is one, else a hash."""
    decimal = _DECIMAL.fullmatch(seed)
    if decimal and int(decimal[1]) <= NOISE_SEED_MAX:
        return int(decimal[1])
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])


@dataclass(frozen=True)
class Order:
    """What a client asks to have drawn: sizes in pixels, `seed` any text."""

    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str
