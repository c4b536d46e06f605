"""Anthropic's Message Batches, as the sandbox plays them."""
