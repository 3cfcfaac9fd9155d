"""What a table holds, shown: for `nas table info` and after an import."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid

from nas.commands import _shared
from nas.tables import Table, training_seeds
from nas.tables.seed_noise import noise
from nas.terminal import printable


def describe(table: Table, as_json: bool) -> None:
    """Print a table's header and what is in its columns."""
    if as_json:
        _shared.print_json(document(table, columns=True))
        return
    console = Console(highlight=False, markup=False)
    console.print(printable(table.name), style="bold", end="", soft_wrap=True)
    console.print(printable(f"  space {table.space}, {table.rows:,} architectures"), soft_wrap=True)
    for name, text in (("file", table.path), ("source", table.source), ("license", table.licence)):
        console.print(f"{name:<8} {printable(str(text))}", soft_wrap=True)
    rows = document(table, columns=True)["columns"]
    noisy = [row["noise"] for row in rows if row["noise"]]
    words, numbers = ("column", "unit"), ("seeds", "known", "lowest", "median", "highest")
    grid = Grid(box=None, header_style="bold")
    for heading in (*words, *numbers, *(("deviation", "ceiling") if noisy else ())):
        grid.add_column(heading, justify="left" if heading in words else "right", no_wrap=heading == "column")
    for row in rows:
        name, unit = printable(row["name"]), printable(row["unit"] or "")
        seeds = "-" if row["seeds"] is None else str(row["seeds"])
        shown = ["-" if row[k] is None else f"{row[k]:.4g}" for k in numbers[2:]]
        spread = [f"{row['noise'][k]:.2f}" for k in ("deviation", "ceiling")] if row["noise"] else ["-", "-"]
        grid.add_row(name, unit, seeds, f"{row['known']:.1%}", *shown, *(spread if noisy else ()))
    _shared.print_grid(grid)
    if noisy:
        counts = sorted({spread["archs"] for spread in noisy})
        measured = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        console.print(
            f"deviation: between training seeds of one architecture ({measured} architectures); ceiling: rank correlation of two "
            "seeds, which no predictor can be expected to exceed",
            soft_wrap=True,
        )


def document(table: Table, *, columns: bool) -> dict:
    """The same for JSON; `columns`: with a row for each, which reads them all."""
    about = {"table": table.name, "file": str(table.path), "space": table.space, "architectures": table.rows}
    about |= {"source": table.source, "licence": table.licence, "sha256": table.sha256}
    rows = []
    for name, column in table.columns.items() if columns else ():
        values = table.column(name)
        known = values[~values.isnan()]
        spread = (known.min(), known.median(), known.max()) if len(known) else ()
        rows.append(
            {"name": name, **column._asdict(), "seeds": training_seeds.count(table, name)}
            | {
                "known": len(known) / values.numel(),
                "noise": measured._asdict() if (measured := noise(values)) else table.noise.get(name),
            }
            | dict(zip(("lowest", "median", "highest"), [round(v.item(), 6) for v in spread] or [None] * 3))
        )
    return about | ({"columns": rows} if columns else {"columns": len(table.columns)})
