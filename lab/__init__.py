"""The lab: a real Kubernetes cluster with edge and cloud nodes on one Linux machine, without a container engine.

It is a package beside the product: it imports nothing of ``littoral``, and ``littoral`` imports nothing of it.
"""
