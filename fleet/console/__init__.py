"""The console: read-only pages on the fleet's present, its jobs and its money, for people with a browser."""
