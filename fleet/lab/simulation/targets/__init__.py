"""The simulated targets: what waits for them, how fast they work, and who scales them."""
