"""The log: append, load, read, the hash chain, sealed personal fields and positions."""
