"""The store on a real Valkey: each script, each of its answers."""
