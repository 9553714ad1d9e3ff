"""A model-based test: the service is compared with a small in-memory model."""
