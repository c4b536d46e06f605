"""Anthropic's Message Batches, as its SDKs speak them."""
