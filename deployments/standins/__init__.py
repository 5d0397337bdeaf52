"""Small stand-in models for the local profile, and the generator, trainer and scorer that made them."""
