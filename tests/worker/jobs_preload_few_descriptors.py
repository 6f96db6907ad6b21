"""A module that leaves its process without a free file descriptor, for the test of a refused fork."""

import gc
import os
import resource

gc.collect()  # what earlier tests have left behind would give descriptors back later
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
kept: list[int] = []
try:
    while len(kept) < 64:
        kept.append(os.dup(0))
except OSError:
    os.close(kept.pop())  # one for the modules that are still to be imported
