"""`workbench fit TABLE`: one law, its constants and their intervals."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.output import Json, cautions, emit, left_out, table

if TYPE_CHECKING:
    from rich.console import Console

Table = Annotated[Path, typer.Argument(help="A run table: CSV, TSV, Parquet or JSON lines.")]
Part = Annotated[
    str | None, typer.Option("--part", help="A loss part, such as code for loss_code.")
]


class LawName(StrEnum):
    """The laws that can be asked for by name; auto chooses one in compute."""

    auto = "auto"
    power = "power"
    power_floor = "power_floor"
    broken = "broken"
    chinchilla = "chinchilla"
    tied = "tied"
    kaplan = "kaplan"
    coupled = "coupled"
    chinchilla_total = "chinchilla_total"
    experts = "experts"
    sparse = "sparse"
    sparse_fixed_tokens = "sparse_fixed_tokens"
    repeated = "repeated"


def command(
    runs: Table,
    law: Annotated[
        LawName,
        typer.Option(
            "--law",
            help="In compute (auto: power_floor where the runs can show a floor, else power), in "
            "sizes and tokens, in experts, or with repeated data.",
        ),
    ] = LawName.auto,
    part: Part = None,
    floor: Annotated[
        float | None,
        typer.Option("--floor", help="Pin the irreducible loss, in nats, instead of fitting it."),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Refits for the intervals; 0 for none.")
    ] = 400,
    profile: Annotated[
        bool, typer.Option("--profile", help="Profile intervals beside those of the bootstrap.")
    ] = False,
    json: Json = False,
) -> None:
    """Estimate one law, with its constants and intervals."""
    from workbench.estimate import fit_law

    fit = fit_law(runs, law=law.value, part=part, draws=bootstrap, floor=floor, profiled=profile)

    def people(out: "Console") -> None:
        rows = []
        for name, value in fit.constants.items():
            ends = [fit.intervals.get(name, {}).get(end) for end in ("lo90", "hi90")]
            if profile:
                ends += [fit.profiles.get(name, {}).get(end) for end in ("lo90", "hi90")]
            rows.append((name, value, *ends))
        title = f"{fit.law} law of {fit.loss}, {len(fit.runs_used)} runs"
        headers = ["constant", "value", "90 % from", "to"]
        headers += ["profile from", "to"] if profile else []
        out.print(table(title, tuple(headers), rows))
        agreed = f"{fit.starts_agreeing} of {fit.starts} starts agree"
        out.print(f"objective {fit.objective:.9g}, {agreed}, {fit.bootstrap} bootstrap refits")
        left_out(fit.left_out, out)
        cautions(fit.cautions, out)

    emit(fit, as_json=json, people=people)
