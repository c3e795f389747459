"""How Littoral talks to a Kubernetes API server: raw JSON over one kept connection pool.

Handlers of our own kinds run on kopf; everything else (Pods, Nodes, Deployments, ...) comes through the informers here.
"""
