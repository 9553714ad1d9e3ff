"""Who may come in: tokens that were revoked, and log-ins that failed too often."""
