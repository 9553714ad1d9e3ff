"""The wire contract and nothing else: routes, bodies, statuses and texts."""
