"""How numbers become 8-bit integers. Knows nothing."""

LARGEST = 127
"""Of the 8-bit integers; they are symmetric."""

ZERO = 128
"""What zero becomes: oneDNN multiplies unsigned by signed integers fast, and two signed ones very slowly."""

TINY = 1e-12
"""The largest number of a row is taken to be at least this, so that a row of zeros has a scale."""
