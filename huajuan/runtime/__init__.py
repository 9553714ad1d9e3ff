"""Parts of any long-running process: tasks, threads, shutdown, logs, health, fail points. No service code."""
