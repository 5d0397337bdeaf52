"""Measures the way from jobs to machines and back, on pretend GPU machines."""
