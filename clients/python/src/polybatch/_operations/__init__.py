"""What the clients do, written once for both: each operation is a coroutine over a Transport."""
