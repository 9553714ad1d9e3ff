"""Route handlers for admins."""

from huajuan.http.routes.admin import (
    inference_servers,
    moderation,
    past,
    points,
    projections,
    statistics,
    verify,
)

__all__ = [
    "inference_servers",
    "moderation",
    "past",
    "points",
    "projections",
    "statistics",
    "verify",
]
