"""What to do with an error that nobody foresaw: keep its traceback in a file, and say so in a line."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from pathlib import Path

from nas import outside_code
from nas.paths import user_folder

STATUS = 70
"""Exit status of an error inside the program (EX_SOFTWARE of sysexits.h): 2 is a user's."""


def line(error: BaseException, args: list[str]) -> str:
    """The line that says what happened and which file has the traceback; the file is written here, where one can be."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    kept = _keep("".join(traceback.format_exception(error)), args)
    where = f"the traceback is in '{kept}'" if kept else "no folder could take its traceback"
    # A mistake in what a component hands over shows late, in code of ours.
    try_it = " Before that, try your own component by `nas check`." if outside_code.is_in_use() else ""
    return f"nas stopped at an error of its own, {what}; {where}. Please report it.{try_it}"


def line_of_outside(error: BaseException, args: list[str]) -> str | None:
    """The same where the error came through code that is not ours: its line is named. None where it came through none."""
    place = outside_code.place_of(error)
    if place is None:
        return None
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(" :")
    kept = _keep("".join(traceback.format_exception(error)), args)
    where = f" The traceback is in '{kept}'." if kept else ""
    return f"Line {place.line} of '{place.file}' raised {what}.{where} `nas check` tries a component."


def _keep(text: str, args: list[str]) -> Path | None:
    """The file that holds the traceback: in the user's cache, else in the folder of temporary files; None if neither can."""
    cache = user_folder("XDG_CACHE_HOME", ".cache")
    head = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  nas {' '.join(args)}\n\n"
    for folder in (cache and cache / "metacell" / "tracebacks", Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A new file each time, for the user's eyes alone: two crashes at once do not mix.
            handle, name = tempfile.mkstemp(prefix="nas-", suffix=".txt", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(head + text)
            return Path(name)
        except OSError:
            continue
    return None
