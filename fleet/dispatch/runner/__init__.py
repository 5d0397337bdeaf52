"""Runners, which turn a target's work into answers: micro-batches, money set aside, calls on record, suspects."""
