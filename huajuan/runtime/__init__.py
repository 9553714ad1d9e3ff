"""Parts of any long-running process: background tasks, threads, shutdown, fail points. No service code."""
