"""Measurements and plots of `fleet evaluate`. Loads numpy, scikit-learn and matplotlib, so only commands import it."""
