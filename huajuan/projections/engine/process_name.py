"""What this process is called, for those who ask which one leads."""

import os
import socket

SERVING = "huajuan serves"


def own_name() -> str:
    """Host and process number, such as `gpu-1:4711`."""
    return f"{socket.gethostname()}:{os.getpid()}"
