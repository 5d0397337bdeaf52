"""How far an answer can be trusted: gates, signals, calibrated scores, thresholds, second looks."""
