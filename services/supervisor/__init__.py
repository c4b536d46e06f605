"""The supervisor: runs the whole suite on one machine, each service a process of its own."""
