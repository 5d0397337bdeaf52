"""The trust in answers: gates, signals, calibrated scores, thresholds, second looks."""
