"""Takes messages from consumers, reads them and settles them."""
