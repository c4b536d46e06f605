"""OpenAI's files, batches and single calls, as the sandbox plays them."""
