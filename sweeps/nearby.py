"""What there is instead of a sweep file or a sweep's folder that was not found."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

MOST = 6  # named at most


def no_sweep_file(path: Path, error: OSError) -> ValueError:
    """That a sweep file cannot be read, and those in its folder, in it, or in `sweeps`."""
    folder = path if path.is_dir() else path.parent
    found = sorted({*folder.glob("*.toml"), *Path("sweeps").glob("*.toml")})
    near = _meant(path, found, "name a sweep file; there is none beside it")
    return ValueError(f"{path}: cannot be read ({error.strerror})\n{near}")


def no_plan(folder: Path, plan_name: str) -> ValueError:
    """That a folder is no sweep's, and the sweeps beside it, in it, above it, and in `runs`."""
    places = {folder, folder.parent, folder.parent.parent, Path("runs")}
    plans = {plan for place in places for plan in place.glob(f"*/{plan_name}")}
    plans |= {place / plan_name for place in places if (place / plan_name).is_file()}
    nothing = "name a folder that `workbench run` or `submit` made; there is none near it"
    near = _meant(folder, sorted(plan.parent for plan in plans), nothing)
    return ValueError(f"{folder}: no plan there; is it the folder of a sweep?\n{near}")


def _meant(path: Path, found: list[Path], nothing: str) -> str:
    """Like "did you mean sweeps/demo.toml?", or all there are."""
    if not found:
        return nothing
    names = {candidate.name.removesuffix(".toml"): candidate for candidate in reversed(found)}
    close = get_close_matches(path.name.removesuffix(".toml"), list(names), n=1)
    if close:
        return f"did you mean {names[close[0]]}?"
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"there are: {', '.join(map(str, found[:MOST]))}{more}"
