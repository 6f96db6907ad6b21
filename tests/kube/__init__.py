"""A whole single-node Kubernetes for tests: real binaries, no container engine, no registry.

``python -m tests.kube up`` builds what is missing (once, cached), starts it and leaves it running;
``python -m tests.kube down`` ends exactly what was started. Tests talk to it through `cluster.Cluster`.
"""
