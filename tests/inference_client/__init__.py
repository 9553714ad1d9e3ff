"""Tests of the ComfyUI client over HTTP against the demo ComfyUI."""
