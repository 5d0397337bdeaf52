"""Calls made in batches of a provider's own, which cost half and take minutes or hours.

These are files and jobs at OpenAI, Anthropic and Groq. Fleet's own batches are in `fleet.batches`.
"""
