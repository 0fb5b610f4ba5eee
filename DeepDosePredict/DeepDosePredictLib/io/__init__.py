"""Readers that make a Case and writers that take a dose; no Slicer."""
