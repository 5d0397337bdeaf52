"""The HTTP gateway: doors to the queue for everybody who speaks OpenAI's API."""
