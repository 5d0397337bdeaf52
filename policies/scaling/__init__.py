"""How many replicas and dispatchers there shall be."""
