"""`workbench plan SWEEP`: the grid and its cost; trains nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.output import Json, cautions, emit, table

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
Sweep = Annotated[Path, typer.Argument(help="A sweep file (TOML).", metavar="SWEEP")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds all sweeps and the ledger.")]


def command(sweep: Sweep, runs: Runs = RUNS, json: Json = False) -> None:
    """The grid, its exact FLOPs and its cost; trains nothing."""
    from sweeps.cost import cost_table, wall_seconds
    from sweeps.planned import plan_table
    from workbench.prepare import preview, worker_count

    described, planned, _ = preview(sweep, runs)
    rows, workers = plan_table(planned), worker_count(described)
    threads = described.execution.target_threads or workers
    cost = cost_table(planned, device=described.execution.device, target_threads=threads)
    seconds = wall_seconds(planned, workers)

    def people(out: "Console") -> None:
        shown = ("name", "flops", "n_active", "tokens", "tokens_per_param", "batch", "steps")
        titles = ("run", "FLOPs", "n active", "tokens", "tokens/n", "batch", "steps", "s", "note")
        columns = [*shown, "expected_seconds", "warnings"]
        out.print(table(f"{planned.sweep}: runs", titles, rows[columns].itertuples(index=False)))
        out.print(table("cost", [str(c) for c in cost.columns], cost.itertuples(index=False)))
        out.print(
            f"{workers} at a time: about {seconds / 60:.1f} min "
            f"(speed: {planned.throughput.source})"
        )
        if planned.data is None:
            out.print("run ids and epochs are known once the data set is built by `run`")
        cautions(planned.warnings, out)

    payload = {
        "sweep": planned.sweep,
        "data": planned.data,
        "runs": rows,
        "cost": cost,
        "wall_seconds": seconds,
        "warnings": planned.warnings,
    }
    emit(payload, as_json=json, people=people)
