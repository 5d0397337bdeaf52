"""Files of jobs in, files of results out."""
