"""Sizes shared by the engine and its compiled loops; knowing them at compile time makes the loops twice as fast."""

# rows of a tile; leading terms of the first bound and of the second
TILE, LEAD, FULL = 128, 16, 128
