"""Has pictures drawn: leases on jobs, the hosts that draw, and the telling of how each job ended."""
