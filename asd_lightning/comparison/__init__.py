"""Many runs, or many back-ends, in one table beside the published ones."""
