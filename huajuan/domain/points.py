"""What things cost and what a visit pays, in points."""

PICTURE_COST = 20
CHECK_IN_REWARD = 100
