"""What a table holds, shown: for `nas table info` and after an import."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from nas.commands import _shared
from nas.tables import Table
from nas.tables.seed_noise import noise


def describe(table: Table, as_json: bool) -> None:
    """Print a table's header and what is in its columns."""
    if as_json:
        _shared.print_json(document(table, columns=True))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(table.name)}[/]  space {table.space}, {table.rows:,} architectures", soft_wrap=True)
    console.print(f"file     {table.path}", soft_wrap=True, markup=False)
    console.print(f"source   {table.source}", soft_wrap=True, markup=False)
    console.print(f"licence  {table.licence}", soft_wrap=True, markup=False)
    grid = Grid(box=None, header_style="bold")
    for heading in ("column", "unit", "seeds", "known", "lowest", "median", "highest"):
        grid.add_column(
            heading, justify="left" if heading in ("column", "unit") else "right", no_wrap=heading == "column"
        )
    for row in document(table, columns=True)["columns"]:
        numbers = ("-" if row[k] is None else f"{row[k]:.4g}" for k in ("lowest", "median", "highest"))
        grid.add_row(escape(row["name"]), row["unit"] or "", str(row["seeds"]), f"{row['known']:.1%}", *numbers)
    console.print(grid)
    for row in document(table, columns=True)["columns"]:
        if row["noise"]:
            spread = row["noise"]
            console.print(
                f"noise of {row['name']}: deviation {spread['deviation']:.2f} {row['unit']} between seeds, rank correlation of "
                f"two seeds {spread['ceiling']:.2f} ({spread['archs']:,} architectures), "
                "which no predictor can be expected to exceed",
                soft_wrap=True, markup=False,
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
            {"name": name, **column._asdict(), "seeds": values.shape[1] if values.dim() > 1 else 1}
            | {
                "known": len(known) / values.numel(),
                "noise": measured._asdict() if (measured := noise(values)) else None,
            }
            | dict(zip(("lowest", "median", "highest"), [round(v.item(), 6) for v in spread] or [None] * 3))
        )
    return about | ({"columns": rows} if columns else {"columns": len(table.columns)})
