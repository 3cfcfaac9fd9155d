"""A network as files that need only torch."""

from nas.export.export import Export, export

__all__ = ["Export", "export"]
