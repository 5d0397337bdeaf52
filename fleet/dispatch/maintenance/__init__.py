"""Chores beside the jobs' path: work nobody serves, and jobs that are called off."""
