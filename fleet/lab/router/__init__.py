"""The learned router: fitted to labelled prompts, and judged on others."""
