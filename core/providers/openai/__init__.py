"""OpenAI's Batch API, and that of servers in its form."""
