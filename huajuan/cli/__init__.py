"""The command line: entry point and parts that several commands share."""
