"""The kill matrix: whatever dies wherever, each picture asked for is drawn and paid, or neither."""
