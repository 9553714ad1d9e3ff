"""Splits what a test sets into operator settings and limits, for a service in this process or another."""

from collections.abc import Mapping
from typing import Any

import msgspec

from huajuan.server.limits import TEST_LIMITS, ServiceLimits, WorkerLimits
from huajuan.settings import PREFIX, declared

_GROUPS = {type(getattr(ServiceLimits(), name)): name for name in ServiceLimits.__struct_fields__}
_WORKER = frozenset(WorkerLimits.__struct_fields__)


def split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, msgspec.Struct]]:
    """The operator settings by field, and the limits by field of `ServiceLimits`.

    A struct is known by its type, whatever it is named here; a `WorkerLimits` field may stand alone.
    """
    structs = {_GROUPS[type(value)]: value for value in values.values() if isinstance(value, msgspec.Struct)}
    alone = {name: values[name] for name in _WORKER & values.keys()}
    limits = structs | ({"worker": WorkerLimits(**alone)} if alone else {})
    settings = {n: v for n, v in values.items() if n not in alone and not isinstance(v, msgspec.Struct)}
    if unknown := settings.keys() - declared().keys():
        raise TypeError(f"neither settings nor limits: {', '.join(sorted(unknown))}")
    return settings, limits


def variables(**values: Any) -> dict[str, str]:
    """The environment variables that set them in another process. A name that begins with `_` is kept."""
    internal = {name: str(value) for name, value in values.items() if name.startswith("_")}
    settings, limits = split({n: v for n, v in values.items() if n not in internal})
    named = {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
    changed = {name: _changed(group) for name, group in limits.items()}
    return named | ({TEST_LIMITS: msgspec.json.encode(changed).decode()} if changed else {}) | internal


def _changed(group: msgspec.Struct) -> dict[str, Any]:
    default = type(group)()
    return {n: v for n, v in msgspec.structs.asdict(group).items() if v != getattr(default, n)}
