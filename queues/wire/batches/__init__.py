"""The entries of the bucket `batches`."""
