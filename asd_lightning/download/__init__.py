"""Fetching a year of DCASE Task 2: records, resumable transfer, safe extraction.

Own code for the transfer because pooch starts a file again from its first byte after every interruption, and the
archives are hundreds of megabytes.
"""
