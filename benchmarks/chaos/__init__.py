"""Kills anything at any step, under load, and balances the accounts afterwards."""
