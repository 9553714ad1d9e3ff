"""The command line of operators: entry point, and parts that several commands share."""
