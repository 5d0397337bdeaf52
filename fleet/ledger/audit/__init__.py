"""Receipts of the ledger: the log over its rows, what it proves, and erasure that leaves it standing."""
