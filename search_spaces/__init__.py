"""What can be searched: one file a space. Loads no torch by itself."""

from search_spaces._base import Space, Task, UserError

__all__ = ["Space", "Task", "UserError"]
