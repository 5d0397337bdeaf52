"""Shares of tenants and targets: the order of jobs, quotas, batches, and streams that fill up."""
