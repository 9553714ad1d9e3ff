"""Idempotency keys: a request sent again with the same key has one effect and gets the first reply."""
