"""Requests that become jobs: their terms, the wait for their results, and chat, the first door of that kind."""
