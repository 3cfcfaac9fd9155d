"""How to search: one file an algorithm; `meta/` holds what is trained across tasks."""
