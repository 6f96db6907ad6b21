"""The command line: one module a command, which turns words into a call of the library and its answer into words.

Nothing but click is imported before a command runs: ``rqk --help`` is quick, and ``rqk worker`` forks its zygote
before it holds anything that a job does not need.
"""
