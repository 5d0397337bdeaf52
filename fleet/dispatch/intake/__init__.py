"""Intake of jobs from the lanes to a target: turns between tenants, quotas, and decisions on arrival."""
