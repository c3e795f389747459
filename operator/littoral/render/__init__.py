"""From an Assignment to the objects that a cluster runs. Pure: manifests out, nothing applied."""
