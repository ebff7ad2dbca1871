"""`make gpu-check`: tests and measures everything that needs a CUDA device.

1. the tests marked `gpu`, each kernel against float64;
2. utilisation in training at about 1M, 10M and 100M active parameters;
3. `sweeps/study-gpu.toml` the whole way, at most nine minutes.

Where there is no device it says so and stops. A machine without the packages of the corpus gets it
packed: `gpu_check.py --pack FOLDER` on one that has them, then that folder as `--packed FOLDER`
here. `--rehearse` takes the same way on a CPU with a sweep of seconds, packing included.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
SWEEP = ROOT / "sweeps" / "study-gpu.toml"
REHEARSAL = ROOT / "benchmarks" / "rehearsal.toml"
PARTS = ("tests", "speed", "sweep")
LARGEST_PACK = 40e6  # bytes

if TYPE_CHECKING:
    from benchmarks.measured import Row


def main(arguments: list[str] | None = None) -> int:
    """0 where all was met, or where there is no device; else 1."""
    wanted = _parser().parse_args(arguments)
    if str(ROOT) not in sys.path:  # where the project is not installed
        sys.path.insert(0, str(ROOT))
    missing = missing_device()
    if wanted.pack is not None:
        return pack(SWEEP, wanted.runs, wanted.pack)
    if missing and not wanted.rehearse:
        print(f"gpu-check: {missing}; nothing was tested or measured")
        return 0
    if wanted.rehearse:
        return rehearse(wanted)
    return check(wanted, SWEEP, device="cuda")


def missing_device() -> str | None:
    """What is missing for a check on a device; None where nothing is."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA device here"


def check(wanted: argparse.Namespace, sweep: Path, *, device: str) -> int:
    """All parts in turn; the results file is written after each, so that none is lost."""
    from benchmarks.gpu_parts import place_of, run_tests, speed_rows, sweep_rows
    from benchmarks.measured import save, show

    parts = tuple(wanted.only or PARTS)
    place = place_of(device, "-".join(parts) if wanted.only else "")
    rows: list[Row] = []
    for part in parts:
        print(f"gpu-check: {part}", flush=True)
        if part == "tests":
            rows += run_tests(ROOT, device)
        elif part == "speed":
            rows += speed_rows(device)
        else:
            unpack(wanted.packed, sweep, wanted.runs)
            rows += sweep_rows(sweep, wanted.runs)
        path = save(wanted.results, "gpu-check", place, rows)
    show(f"GPU check on {place['device']}", rows)
    print(f"written to {path}")
    return 0 if all(row.measured is not None and row.met is not False for row in rows) else 1


def rehearse(wanted: argparse.Namespace) -> int:
    """The same way on a CPU: a small corpus is packed, unpacked elsewhere, and trained on."""
    folder = wanted.runs / "rehearsal"
    shutil.rmtree(folder, ignore_errors=True)
    if pack(REHEARSAL, folder / "built", folder / "packed"):
        return 1
    wanted.runs, wanted.packed, wanted.results = folder, folder / "packed", folder / "results"
    return check(wanted, REHEARSAL, device="cpu")


def pack(sweep: Path, runs: Path, folder: Path) -> int:
    """Build the sweep's corpus and leave it, as one file, in the folder."""
    from model.data.build import build_dataset, dataset_folder
    from model.data.packed import pack_dataset
    from sweeps.sweep_file import load_sweep
    from workbench.pipeline import data_progress
    from workbench.prepare import DATA_FOLDER

    spec = load_sweep(sweep).data.spec()
    try:
        with data_progress() as progress:
            build_dataset(spec, runs / DATA_FOLDER, progress)
        archive = archive_of(sweep, folder)
        size = pack_dataset(dataset_folder(spec, runs / DATA_FOLDER), archive)
    except (ValueError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 1
    print(f"gpu-check: {archive}, {size / 1e6:.1f} MB")
    if size > LARGEST_PACK:
        print(f"gpu-check: more than {LARGEST_PACK / 1e6:g} MB: lower max_bytes", file=sys.stderr)
        return 1
    return 0


def unpack(folder: Path, sweep: Path, runs: Path) -> None:
    """Unpack the sweep's corpus where it was brought along; else the sweep builds it."""
    from model.data.packed import unpack_dataset
    from workbench.prepare import DATA_FOLDER

    archive = archive_of(sweep, folder)
    if archive.is_file():
        print(f"gpu-check: corpus unpacked into {unpack_dataset(archive, runs / DATA_FOLDER)}")
    else:
        print(f"gpu-check: no {archive}, so the corpus is built here")


def archive_of(sweep: Path, folder: Path) -> Path:
    """The packed corpus of a sweep."""
    return folder / f"{sweep.stem}.tar.xz"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    runs = ROOT / "runs"
    add = parser.add_argument
    add("--pack", type=Path, metavar="FOLDER", help="build the corpus, pack it there, and stop")
    add("--packed", type=Path, metavar="FOLDER", default=runs / "packed", help="where it was put")
    add("--rehearse", action="store_true", help="the same on a CPU, small, under runs/rehearsal")
    add("--only", action="append", choices=PARTS, help="this part; may be repeated")
    add("--runs", type=Path, default=runs, help="folder of all sweeps")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
