"""For auditors: proves that no byte of the log was changed, and explains every balance from the log alone."""
