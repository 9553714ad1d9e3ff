"""The verbs: one file, one command, called by name. Each decides on the log alone and appends facts."""
