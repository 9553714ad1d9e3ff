"""The kill matrix: after any kill every requested picture is drawn and paid, or neither."""
