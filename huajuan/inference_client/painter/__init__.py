"""The demo painter: speaks ComfyUI's routes and socket, and draws procedural landscapes; no model is involved."""
