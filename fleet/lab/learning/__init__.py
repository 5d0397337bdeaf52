"""The learning from labels how far answers can be trusted: fits, thresholds with a promise, guards, refits."""
