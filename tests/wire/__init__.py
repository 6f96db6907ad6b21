"""Proof that rqk and real RQ share one Redis."""
