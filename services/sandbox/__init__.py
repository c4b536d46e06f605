"""A stand-in for the vendors' batch APIs: nothing is spent, everything can go wrong on request.

It shares no code with what it tests. Run it with `python -m services.sandbox`.
"""
