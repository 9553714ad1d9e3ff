"""Tests of the ComfyUI library, over real HTTP against the demo painter."""
