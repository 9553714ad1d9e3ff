"""A small server that speaks ComfyUI's API and draws landscapes without a model."""
