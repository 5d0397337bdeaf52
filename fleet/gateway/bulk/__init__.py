"""Files of requests, and the batches that run them, in the shapes of OpenAI."""
