"""Images, recordings and files in requests: their tokens, and what a provider would refuse."""

from core.providers.media.look import Media, Prompt, look, prompt_of

__all__ = ["Media", "Prompt", "look", "prompt_of"]
