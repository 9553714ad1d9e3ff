"""The limit of open file descriptors of this process: raised at start, and shared out to HTTP connections."""

import resource

from huajuan.setting_ranges import range_of
from huajuan.settings import Settings

# More would only make every child process slower to start.
SOFT_LIMIT_MAX = 65_536
# The log, the listeners, the picture store, files that are read for a moment.
RESERVED_DESCRIPTORS = 64
RESERVED_PER_COMFYUI_SERVER = 4
CONNECTIONS_MIN = 8
# What is derived from the limit goes no higher, because each connection takes some memory.
CONNECTIONS_DERIVED_MAX = 10_000


def raise_open_files_limit() -> None:
    """Set the soft limit to the hard limit, up to `SOFT_LIMIT_MAX`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOFT_LIMIT_MAX if hard == resource.RLIM_INFINITY else min(hard, SOFT_LIMIT_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # macOS refuses values above a limit of the kernel. The soft limit stays.
        return


def reserved_descriptors(settings: Settings) -> int:
    """How many descriptors the service needs beside its HTTP connections."""
    servers = RESERVED_PER_COMFYUI_SERVER * max(1, len(settings.comfyui_urls))
    return RESERVED_DESCRIPTORS + settings.connections_max + settings.audit.threads_max + servers


def connections_bound(connections_max: int, reserved: int) -> int:
    """How many HTTP connections this process may have open; `connections_max` 0 means as many as the limit allows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    allowed = int(range_of("HTTP_CONNECTIONS_MAX").most) if unlimited else soft - reserved
    return max(CONNECTIONS_MIN, min(connections_max or CONNECTIONS_DERIVED_MAX, allowed))
