"""What `fleet evaluate` measures and draws. Loads numpy, scikit-learn and matplotlib, so only commands import it."""
