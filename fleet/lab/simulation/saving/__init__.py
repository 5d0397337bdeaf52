"""What spares a simulated fleet calls and tokens, and what each mechanism saved."""
