"""Money reports: what answering cost, and what it would have cost otherwise."""
