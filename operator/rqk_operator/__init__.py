"""The rqk operator: follows RQWorkerPool resources with Deployments."""
