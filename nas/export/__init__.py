"""A network as files that need only torch."""

from nas.export.export import Exported, export

__all__ = ["Exported", "export"]
