"""A day of the services in virtual time: waiting times, fairness and provider calls.

`python -m benchmarks.simulation` runs the product's own decisions against made-up providers with
limits and outages; the same seed gives the same day.
"""
