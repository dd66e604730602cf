"""Listening for as long as a plant runs: from a stream of sound to events that somebody acts upon."""
