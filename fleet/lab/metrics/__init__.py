"""Statistics shared by learning and evaluation: bounds, curves, the calibration of confidences."""
