"""The public DCASE Task 2 releases: records, transfer, safe extraction."""
