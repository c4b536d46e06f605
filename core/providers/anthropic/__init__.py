"""Anthropic's Message Batches, and the translation of chat completions to them."""
