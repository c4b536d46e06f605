"""Google Gemini's batch mode, and the translation of chat completions to it."""
