"""How long a test waits for what is to happen: on any machine, however slow and busy it is."""

PATIENCE_SECONDS = 600.0
"""No measure of speed: it only ends a test that would wait for ever. Whatever takes longer hangs."""
