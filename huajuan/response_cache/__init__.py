"""The response cache: replies kept in memory and checked by version counters, valid under a lease."""
