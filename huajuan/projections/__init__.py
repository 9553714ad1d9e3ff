"""The read tables: each file has one table, the fold that builds it from the log, and its questions."""
