"""Kill anything at any step, under load, and balance the accounts afterwards."""
