"""Commands about the accounts: the ledger's database, and what it tells."""
