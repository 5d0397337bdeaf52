"""Studies of many jobs afterwards: learning, evaluation, simulation. Nothing that carries a job imports it."""
