"""Reads what a client would prefer: the `Prefer` header of RFC 7240."""

import re

RESPOND_ASYNC = "respond-async"
# A longer one is no preference of anybody's.
_CHARACTERS_MAX = 500
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_NAME = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:[=;]|$)")


def prefers(headers: list[str], preference: str) -> bool:
    """Whether any of the headers names it, alone or in a list, whatever its value and parameters.

    What is no preference is passed over, as the RFC asks.
    """
    return any(preference in _names(header) for header in headers if len(header) <= _CHARACTERS_MAX)


def _names(header: str) -> set[str]:
    named = (_NAME.match(part) for part in _PREFERENCE.findall(header))
    return {name[1].lower() for name in named if name}
