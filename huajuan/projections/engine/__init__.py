"""The projection engine: runs the folds of the read tables, live and exactly once."""
