"""rqk: a job queue for Python on Kubernetes that speaks the wire protocol of RQ."""
