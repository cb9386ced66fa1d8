"""Sizes that the engine and its compiled loops share; the loops are twice as fast for knowing them when compiled."""

# rows of a tile; leading terms of the first bound and of the second
TILE, LEAD, FULL = 128, 16, 128
