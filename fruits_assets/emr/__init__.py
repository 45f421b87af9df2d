"""Running steps on an EMR cluster: the cluster, the launcher and the uploaded files."""
