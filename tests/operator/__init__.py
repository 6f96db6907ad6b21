"""The operator: its pure parts by themselves, and the whole of it against a real API server."""
