"""The accounts in SQL: every line of the stream LEDGER, written once, and what is asked of them."""
