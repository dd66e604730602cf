"""How much of a text in JSON or YAML is read that somebody else has written."""

DEPTH = 40
"""Levels, one in another."""
DIGITS = 100
"""Characters of a number: longer ones take quadratic time."""
YAML_NODES = 20_000
"""Values; a run's configuration has some 300."""
