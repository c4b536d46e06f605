"""Gemini's files and batches, as the sandbox plays them."""
