"""What the measured jobs do. Imports nothing, since both sides import it."""


def nothing() -> None:
    """The smallest job: what is measured is the queue."""
