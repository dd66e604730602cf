"""Pretrained weights: which there are, how they are fetched, imported and read."""
