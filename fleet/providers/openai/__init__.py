"""OpenAI's Chat Completions API, which Groq speaks as well."""
