"""Decides by tests whether an adapter may answer jobs: on questions that it was not trained on, beside its base."""
