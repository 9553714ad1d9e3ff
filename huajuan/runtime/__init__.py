"""Parts of a running process that are not specific to this service: periodic tasks, threads, shutdown, fail points."""
