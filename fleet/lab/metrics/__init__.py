"""Statistics that learning and evaluation share: bounds, curves, how true a confidence is."""
