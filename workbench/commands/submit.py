"""`workbench submit SWEEP --profile PROFILE`: the whole way on a Slurm cluster."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.plan import RUNS, Runs, Sweep
from workbench.output import Json, cautions, console, emit, table

if TYPE_CHECKING:
    from rich.console import Console

ProfileName = Annotated[
    str,
    typer.Option("--profile", help="A profile file (TOML), or cpu, one-node-8-gpu, multi-node."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print scripts, array map, hours and cost; add nothing.")
]
MAP_TITLES = ("array", "job", "runs", "at once", "s", "turns", "names")


def command(
    sweep: Sweep,
    profile: ProfileName,
    dry_run: DryRun = False,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Queue what is missing of a sweep: ladder, seal, target and report, each run once.

    Done runs and queued ones are left alone, so the same command again adds only what has failed.
    """
    from sweeps.slurm.profile import load_profile
    from workbench import cluster
    from workbench.dry_run import dry_run as rehearse

    chosen = load_profile(profile)
    if dry_run:
        would = rehearse(sweep, runs, chosen)
        emit(would, as_json=json, people=lambda out: _show(would, out))
        return
    done = cluster.submit_sweep(sweep, runs, chosen, console(stderr=True).print)
    jobs = done.submission.jobs if done.submission else ()
    many = sum(len(task) for job in jobs for task in job.tasks)

    def people(out: "Console") -> None:
        if done.place is None:
            out.print("nothing to add: every run is done or in the queue")
        else:
            out.print(f"{many} run(s) submitted, {len(jobs)} sbatch call(s): {done.place}")
        out.print(f"`workbench status {done.folder}` shows how they are")

    payload = {"folder": done.folder, "place": done.place, "runs": many, "jobs": jobs}
    emit(payload, as_json=json, people=people)


def _show(would: dict[str, Any], out: "Console") -> None:
    limits, arrays, cost = would["limits"], would["arrays"], would["cost"]
    out.print(table("array map", MAP_TITLES, arrays.itertuples(index=False)))
    out.print(table("cost", [str(name) for name in cost.columns], cost.itertuples(index=False)))
    for label, hours in would["allocated"].items():
        unit, value = next(iter(hours.items()))
        if jobs := int((arrays["array"] == label).sum()):
            out.print(f"{label}: {jobs} job(s) hold {value:.3g} {unit}-hours, idle slots included")
        else:
            out.print(f"{label}: at most {value:.3g} {unit}-hours, its time limit")
    out.print(_total(would))
    room = "no limit on jobs known" if limits.room is None else f"room for {limits.room} jobs"
    out.print(f"MaxArraySize {limits.max_array}, {room} ({limits.source})")
    for label, text in would["scripts"].items():
        out.print(f"\n# ---- {label}\n{text}")
    if not would["built"]:
        cautions(["the data set is not built yet: runs that are done are counted too"], out)
    cautions(would["problems"], out)


def _total(would: dict[str, Any]) -> str:
    """Like "total: 8.2 gpu-hours, 20.5 USD, beside seal and report (speed: …)"."""
    parts = [
        f"{value:.3g} {would['currency'] if name == 'price' else f'{name}-hours'}".rstrip()
        for name, value in would["total"].items()
    ]
    listed = ", ".join(parts) or "nothing to train"
    return f"total: {listed}, beside seal and report (speed: {would['speed']})"
