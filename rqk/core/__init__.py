"""The pure core: the wire's names, records and rules. Nothing here reads a clock, a socket or an environment."""
