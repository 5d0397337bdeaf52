"""From a target's work to answers: micro-batches, money set aside, calls on record, suspects."""
