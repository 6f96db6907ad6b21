"""``rqk up``: the pools of a manifest as worker processes on one machine."""
