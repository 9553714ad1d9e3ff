"""The projection engine: folds the event log into the read tables, live and exactly once."""
