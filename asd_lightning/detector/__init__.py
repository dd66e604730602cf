"""A detector: what normal sound of a machine is, and from which score on somebody should come and look."""
