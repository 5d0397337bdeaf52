"""The fleet on a virtual clock: invented jobs, targets that follow a formula, and the decisions of production."""
