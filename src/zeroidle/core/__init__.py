"""Decisions: no I/O, no clock, no environment, no chance."""
