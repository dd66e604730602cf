"""Machine sounds made from physics-like parts, in DCASE layout, reproducible to the byte."""
