"""Logs, redaction, tracebacks and health checks."""
