"""Idempotency keys: a request that is sent again with its key has one effect and gets the first reply."""
