"""The read tables: one table a file, with the folds that build it from the log and its own queries."""
