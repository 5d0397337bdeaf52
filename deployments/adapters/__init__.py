"""Adapters: a few weights beside a base model that teach it one task. Trained here, checked as the engine would."""
