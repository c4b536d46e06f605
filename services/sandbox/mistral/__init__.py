"""Mistral's batch jobs, as the sandbox plays them."""
