"""Answers to failure and lack: breakers, retries, cold targets, rate limits, deliveries, deadlines."""
