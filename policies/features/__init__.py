"""What decisions look at in a request, a prompt and an answer, as numbers and names."""
