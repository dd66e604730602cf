"""Challenge submissions: written and checked."""
