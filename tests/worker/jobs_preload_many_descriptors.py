"""A module that holds so many descriptors that those of a horse have numbers above 1023, which select() does not know."""

import os
import resource

_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, min(4096, _hard)), _hard))
kept = [os.dup(0) for _ in range(1100)]
