"""Settings of a component, read from text by the types of its fields."""

from search_spaces._settings import describe_type, parse_value, typed

__all__ = ["describe_type", "parse_value", "typed"]
