"""Contents: prompts and answers of the tasks that a rule collects, encrypted by tenant, and nowhere else."""
