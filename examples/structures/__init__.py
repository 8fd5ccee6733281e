"""Structures that the examples run on, and the teacher's frames are made of."""
