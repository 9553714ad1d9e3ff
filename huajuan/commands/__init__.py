"""The commands, one topic a file. Each reads only the event log, decides, and appends events."""
