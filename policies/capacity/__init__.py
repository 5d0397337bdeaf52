"""What fits on which GPU, how fast it answers there, and at what price: arithmetic on a model's config.json."""
