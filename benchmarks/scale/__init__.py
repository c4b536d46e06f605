"""Benchmarks past one machine: replicas on PostgreSQL, a NATS cluster and object storage,
each figure beside the embedded mode's of the same run.

`python -m benchmarks.scale` runs all of them; every result is checked against what was sent
and what the sandbox billed, and a line that is lost or paid twice fails the run.
"""
