"""The operator settings: environment variables HUAJUAN_…, documented in docs/settings.md."""

from huajuan.settings.environment import from_environment, unknown_variables
from huajuan.settings.fields import INTERNAL_PREFIX, PREFIX, Setting, Settings, SettingsError, declared

__all__ = [
    "INTERNAL_PREFIX",
    "PREFIX",
    "Setting",
    "Settings",
    "SettingsError",
    "declared",
    "from_environment",
    "unknown_variables",
]
