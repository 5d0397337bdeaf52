"""The number of replicas and dispatchers to run."""
