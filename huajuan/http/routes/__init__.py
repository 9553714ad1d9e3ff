"""Route handlers, one file a topic."""
