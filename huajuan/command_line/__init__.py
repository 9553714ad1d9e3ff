"""What the operator types: one file, one verb."""
