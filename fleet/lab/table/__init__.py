"""Tables of one model for each task: fitted to recorded answers of many models, promised, and judged on others."""
