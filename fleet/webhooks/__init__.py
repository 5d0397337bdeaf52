"""Webhooks by Standard Webhooks, in OpenAI's shapes: tells the endpoints of a tenant what has happened."""
