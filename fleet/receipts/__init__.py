"""Receipts: the append-only Merkle log over the ledger, its signed checkpoints and the proofs of single lines."""
