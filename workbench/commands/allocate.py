"""`workbench allocate TABLE`: parameters against tokens, by the three approaches side by side."""

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.fit import Part, Table
from workbench.figure_file import Figure, figure_form
from workbench.output import Json, cautions, emit, left_out, plain, table

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.allocate_table import Allocation


def command(
    runs: Table,
    flops: Annotated[
        list[str] | None,
        typer.Option("--flops", help="A compute, such as 1e23; may be repeated."),
    ] = None,
    part: Part = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Refits for the intervals; 0 for none.")
    ] = 400,
    figure: Figure = None,
    json: Json = False,
) -> None:
    """Compute-optimal parameters and tokens, by three approaches."""
    from workbench.allocate_table import allocate_table, parse_flops, picture

    form = None if figure is None else figure_form(figure)
    record, comparison = allocate_table(runs, parse_flops(flops or ()), part=part, draws=bootstrap)
    if figure is not None and form is not None:
        from model.records import write_atomic

        write_atomic(figure, picture(comparison, form))

    def people(out: "Console") -> None:
        _show(record, out)
        if figure is not None:
            out.print(str(figure))

    emit(plain(record) | {"figure": figure}, as_json=json, people=people)


def _show(record: "Allocation", out: "Console") -> None:
    """Exponents, then n and tokens at each compute, then what is doubtful."""
    heads = ("approach", "n ~ C^a", "90 % from", "to", "tokens ~ C^b", "90 % from", "to")
    rows = [
        (path.approach, *(v for e in (path.a, path.b) for v in (e.value, e.lo90, e.hi90)))
        for path in record.paths
    ]
    out.print(table(f"exponents, {record.runs} runs", heads, rows))
    names = ("n", "n_lo90", "n_hi90", "tokens", "tokens_lo90", "tokens_hi90")
    cells = [
        (row["flops"], path.approach, *(row[name] for name in names))
        for at in range(len(record.disagreement))
        for path, row in ((path, path.at[at]) for path in record.paths)
    ]
    columns = ("FLOPs", "approach", "n", "90 % from", "to", "tokens", "90 % from", "to")
    out.print(table("compute-optimal", columns, cells))
    for refusal in record.refused:
        out.print(f"{refusal['approach']} refused ({refusal['name']}): {refusal['reason']}")
    left_out(record.left_out, out)
    for path in record.paths:
        cautions((f"{path.approach}: {text}" for text in path.cautions), out)
    cautions(record.cautions, out)
