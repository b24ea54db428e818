"""System checks: what would lose messages or fail later, said at start. Each module registers its own."""

from . import consumers, database, layer, settings, site

__all__ = ["consumers", "database", "layer", "settings", "site"]
