"""Sizing by arithmetic on a model's config.json: the GPUs it fits on, its speed there, and the price."""
