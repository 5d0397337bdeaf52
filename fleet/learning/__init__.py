"""From what was recorded and what was said of it to labels, and from labels to calibrations."""
