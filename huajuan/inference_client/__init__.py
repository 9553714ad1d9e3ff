"""A small client for ComfyUI: draw one picture exactly once, and know what became of it."""

from huajuan.inference_client.client import ComfyUI
from huajuan.inference_client.discovery import ServerInfo
from huajuan.inference_client.drawing import Drawing, Drawn
from huajuan.inference_client.errors import (
    BadPicture,
    Cancelled,
    DrawingFailed,
    InferenceError,
    JobLost,
    OutcomeUnknown,
    Rejected,
    ServerUnavailable,
    TookTooLong,
)
from huajuan.inference_client.holes import Graph, WorkflowError, check_holes
from huajuan.inference_client.jobs import JobState
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.outputs import check_workflow
from huajuan.inference_client.remarks import not_applied, remarks
from huajuan.inference_client.workflow import text_to_image, with_checkpoint

__all__ = [
    "BadPicture",
    "Cancelled",
    "ComfyUI",
    "Drawing",
    "DrawingFailed",
    "Drawn",
    "Graph",
    "InferenceError",
    "JobLost",
    "JobState",
    "Limits",
    "OutcomeUnknown",
    "Rejected",
    "ServerInfo",
    "ServerUnavailable",
    "TookTooLong",
    "WorkflowError",
    "check_holes",
    "check_workflow",
    "not_applied",
    "remarks",
    "text_to_image",
    "with_checkpoint",
]
