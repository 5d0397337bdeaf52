"""Features of requests, prompts and answers for decisions, as numbers and names."""
