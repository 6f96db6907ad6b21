"""Tests on a real Kubernetes; `tests.kube` brings one where none is handed over."""
