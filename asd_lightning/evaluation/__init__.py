"""Official metrics, confidence intervals, comparison tables, challenge submissions."""
