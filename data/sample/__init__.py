"""The sample data that comes with the package; no code."""
