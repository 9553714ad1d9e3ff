"""Authentication: passwords, tokens, sessions, and limits on log-in and registration attempts."""
