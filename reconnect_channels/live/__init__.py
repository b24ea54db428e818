"""The live side: one hub per process and event loop, one connection per socket (design 9)."""
