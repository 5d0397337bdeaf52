"""The semantic cache, fitted and judged: its score, its promise, and other rules on the same rows."""
