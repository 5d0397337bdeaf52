"""A package, so that its fleet stops with its last test: left running, it takes half a core from all the others."""
