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
    grid = Grid(box=None, header_style="bold")
    for heading in ("column", "unit", "seeds", "known", "lowest", "median", "highest"):
        grid.add_column(
            heading, justify="left" if heading in ("column", "unit") else "right", no_wrap=heading == "column"
        )
    rows = document(table, columns=True)["columns"]
    for row in rows:
        numbers = ("-" if row[k] is None else f"{row[k]:.4g}" for k in ("lowest", "median", "highest"))
        name, unit = printable(row["name"]), printable(row["unit"] or "")
        seeds = "-" if row["seeds"] is None else str(row["seeds"])
        grid.add_row(name, unit, seeds, f"{row['known']:.1%}", *numbers)
    _shared.print_grid(grid)
    for row in rows:
        if row["noise"]:
            spread = row["noise"]
            console.print(
                printable(f"noise of {row['name']}: deviation {spread['deviation']:.2f} {row['unit']} between seeds, ")
                + f"rank correlation of two seeds {spread['ceiling']:.2f} ({spread['archs']:,} architectures), "
                "which no predictor can be expected to exceed",
                soft_wrap=True,
            )  # fmt: skip


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
