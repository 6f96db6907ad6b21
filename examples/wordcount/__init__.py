"""Counts the words of a few hundred pages with a pool of workers that comes and goes: ``python -m examples.wordcount.demo``."""
