"""The Kubernetes operator: an RQWorkerPool becomes a Deployment of workers that follows its queues."""
