"""Dose prediction in numpy and torch: no Slicer, no Qt, no file formats but the model's own."""
