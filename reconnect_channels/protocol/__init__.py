"""The pure core: no Django, no asyncio, no I/O (design 4). Shells perform what it decides."""
