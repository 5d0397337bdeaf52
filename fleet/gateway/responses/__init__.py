"""`/v1/responses`: the same jobs as OpenAI's Responses API knows them, in the foreground and in the background."""
