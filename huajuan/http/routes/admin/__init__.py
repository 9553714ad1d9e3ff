"""Route handlers for admins."""
