"""Benchmarks: each measures one promise of the design and is printed beside its limit.

`python -m benchmarks` runs all of them against the real services, each a process of its
own, and takes about four minutes. Ratios compare figures of the same run only.
"""
