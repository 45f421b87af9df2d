"""Steps on an EMR cluster: the cluster, the launcher, what travels there. No numeric code."""
