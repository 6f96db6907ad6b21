"""Processes and connections that die at bad moments, with every job accounted for."""
