"""Answers that are known already: what may be answered without a model, and with which words."""
