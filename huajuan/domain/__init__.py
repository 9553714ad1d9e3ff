"""The business rules: aggregates, their events, and the refusals. No I/O, no clock, no randomness."""
