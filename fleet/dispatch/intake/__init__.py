"""From the lanes to a target: turns between tenants, quotas, and what becomes of a job on arrival."""
