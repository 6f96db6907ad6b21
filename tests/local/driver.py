"""``rqk up`` without its command line: runs a manifest until told to stop, and prints where the queues are."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from rqk.autoscale.manifest import load_pools
from rqk.local.up import run

if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    file = Path(sys.argv[1])
    pools = load_pools(file.read_text(), file.name)
    run(pools, live=False, on_ready=lambda urls: print(json.dumps(dict(urls)), flush=True), tick_s=0.2)
