"""Detectors as released versions wrote them, and what those made of some sounds."""
