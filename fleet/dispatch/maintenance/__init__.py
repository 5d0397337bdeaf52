"""Chores beside the jobs' path: work that nobody serves, and cancelled jobs."""
