"""The whole business against a small model of it."""
