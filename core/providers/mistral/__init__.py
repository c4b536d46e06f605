"""Mistral's batch jobs: OpenAI's files, and jobs of its own over them."""
