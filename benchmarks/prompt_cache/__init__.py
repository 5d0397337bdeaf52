"""Prompt caches of providers: do the accounts equal the invoices, and are marks set where they pay?"""
