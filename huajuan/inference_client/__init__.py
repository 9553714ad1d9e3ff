"""A client for ComfyUI that draws each picture exactly once. It is independent of the rest of the package."""

from huajuan.inference_client.checks import check_workflow, not_applied, workflow_warnings
from huajuan.inference_client.client import ComfyUI
from huajuan.inference_client.discovery import ServerInfo
from huajuan.inference_client.errors import (
    DrawingFailed,
    InferenceError,
    InvalidPicture,
    JobCancelled,
    JobLost,
    JobTimeout,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.inference_client.fill import text_to_image, with_checkpoint
from huajuan.inference_client.jobs import JobState
from huajuan.inference_client.models import ClientLimits, Drawing, Drawn
from huajuan.inference_client.placeholders import Graph, WorkflowError, check_placeholders

__all__ = [
    "ClientLimits",
    "ComfyUI",
    "Drawing",
    "DrawingFailed",
    "Drawn",
    "Graph",
    "InferenceError",
    "InvalidPicture",
    "JobCancelled",
    "JobLost",
    "JobState",
    "JobTimeout",
    "OutcomeUnknown",
    "ServerInfo",
    "ServerUnavailable",
    "WorkflowError",
    "WorkflowRejected",
    "check_placeholders",
    "check_workflow",
    "not_applied",
    "text_to_image",
    "with_checkpoint",
    "workflow_warnings",
]
