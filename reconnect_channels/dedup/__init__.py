"""Once per key: what becomes of a message, and what its retries are answered (design 8)."""
