"""Ray Serve from outside: its configuration, its API, and calls to its applications."""
