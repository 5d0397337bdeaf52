"""Measures the learning loop week by week: real engines, real training, the decisions of the fleet."""
