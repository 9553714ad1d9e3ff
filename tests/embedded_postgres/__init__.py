"""Tests of the embedded PostgreSQL launcher, with real processes."""
