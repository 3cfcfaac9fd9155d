"""Settings of a component, read from text by the types of its fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from search_spaces import UserError, unknown


def typed(name: str, component: type, settings: dict[str, str]) -> dict[str, Any]:
    """Each setting as the component takes it. Its first field, the space or the tasks it works on, is no setting.

    Raises `UserError` for a name that it has not, a text that is no such value, and a number out of its `Range`.
    """
    known = sorted(f.name for f in fields(component)[1:])
    types, found = get_type_hints(component, include_extras=True), {}
    for key, text in settings.items():
        if key not in known:
            raise unknown(f"setting of '{name}'", key, known)
        found[key] = _value(key, text, types[key])
    return found


def _value(key: str, text: str, declared: Any) -> Any:
    of, allowed = get_args(declared)[:2] if get_origin(declared) is Annotated else (declared, None)
    if get_origin(of) is Literal:
        value, takes = text if text in get_args(of) else None, f"{' or '.join(get_args(of))}"
    else:
        value, takes = parse_value(text, of), describe_type(of) + (f" {allowed}" if allowed else "")
    if value is None or (allowed and value not in allowed):
        raise UserError(f"Setting {key} is '{text}'; it takes {takes}.")
    return value


def parse_value(text: str, type_: type) -> Any:
    """A setting of a type from text; None for a text that is no such value."""
    try:
        return {"true": True, "false": False}[text] if type_ is bool else type_(text)
    except (ValueError, KeyError):
        return None


def describe_type(type_: type) -> str:
    """What a setting of a type takes, in words."""
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(type_, "a text")
