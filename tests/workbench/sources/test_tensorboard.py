"""A folder of TensorBoard runs: which folder is a run, and which value is a run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workbench.sources.event_writer import write_events
from workbench.errors import InputError
from workbench.importers import Imported, import_runs
from workbench.sources.parameters import parse_runs
from workbench.sources.tensorboard import read_runs


def curve(last: float, steps: int = 1000) -> list[tuple[int, float]]:
    return [(step, last + (steps - step) / steps) for step in range(100, steps + 1, 100)]


def told(imported: Imported) -> str:
    return "\n".join(finding.sentence() for finding in imported.findings)


def runs_of(folder: Path) -> list[str]:
    return [str(run) for run in read_runs(folder).cells["run"]]


def test_a_subfolder_is_a_run_with_its_last_values(tmp_path: Path) -> None:
    for k, name in enumerate(("run-2", "run-10", "run-1")):
        write_events(tmp_path / name, {"eval/loss": curve(3 - k / 10), "lr": [(1000, 0.0)]})
    cells = read_runs(tmp_path).cells
    assert cells["run"].tolist() == ["run-1", "run-2", "run-10"]  # as people count
    assert cells["eval/loss"].tolist() == ["2.8", "3.0", "2.9"]
    assert cells["last_step"].tolist() == ["1000"] * 3
    assert cells.index.tolist() == [1, 2, 3]


def test_folders_beside_a_run_belong_to_it(tmp_path: Path) -> None:
    for name in ("logs/small", "logs/big"):
        write_events(tmp_path / name / "train", {"loss": curve(3.5)})
        write_events(tmp_path / name / "validation", {"loss": curve(3.0)})
        write_events(tmp_path / name / "1700000000.123", {"hp_metric": [(0, -1.0)]},
                     facts={"n_active": 1e8})  # fmt: skip
    cells = read_runs(tmp_path).cells
    assert cells["run"].tolist() == ["big", "small"]  # without the folder that both share
    assert cells["validation/loss"].tolist() == ["3.0", "3.0"]
    assert cells["train/loss"].tolist() == ["3.5", "3.5"]
    assert cells["n_active"].tolist() == ["100000000.0"] * 2


def test_folders_below_a_runs_own_files_belong_to_it(tmp_path: Path) -> None:
    write_events(tmp_path / "a", {"loss": curve(3.0)})
    write_events(tmp_path / "a" / "group_low", {"group": curve(1.0)})  # torch's add_scalars
    write_events(tmp_path / "b", {"loss": curve(2.9)})
    cells = read_runs(tmp_path).cells
    assert cells["run"].tolist() == ["a", "b"]
    assert cells["group_low/group"].tolist() == ["1.0", ""]


def test_a_folder_that_is_itself_a_run_has_its_name(tmp_path: Path) -> None:
    write_events(tmp_path / "mine", {"loss": curve(3.0)})
    assert runs_of(tmp_path / "mine") == ["mine"]
    write_events(tmp_path / "mine" / "other", {"loss": curve(3.0)})
    assert runs_of(tmp_path / "mine") == ["mine", "other"]


def test_a_restart_overrules_the_steps_that_it_repeats(tmp_path: Path) -> None:
    write_events(tmp_path / "a", {"loss": [(100, 3.5), (200, 3.4), (300, 9.9)]}, stamp=1000)
    write_events(tmp_path / "a", {"loss": [(200, 3.3), (250, 3.2)]}, stamp=2000)
    source = read_runs(tmp_path)
    assert source.cells["loss"].tolist() == ["3.2"]
    assert source.cells["last_step"].tolist() == ["250"]
    assert source.curves[0].steps.tolist() == [100, 200, 250]


def test_sizes_come_from_flags_and_products_of_columns(tmp_path: Path) -> None:
    for k in range(4):
        write_events(tmp_path / f"r{k}", {"eval/loss": curve(3 - k / 10), "train/loss": curve(2)})
    flags = parse_runs([f"r{k}:n_active={10 * 2**k}M, layers=4" for k in range(4)])
    columns = {"tokens": "last_step*200000", "loss": "eval/loss"}
    imported = import_runs(tmp_path, columns, flags=flags, folders=True)
    assert imported.table["n_active"].tolist() == [1e7, 2e7, 4e7, 8e7]
    assert imported.table["tokens"].tolist() == [2e8] * 4
    assert imported.table["run_id"].tolist() == ["r0", "r1", "r2", "r3"]
    assert imported.table["loss"].tolist() == [3.0, 2.9, 2.8, 2.7]
    assert imported.usable == 4
    assert "loss: each run's value at its last step, not its lowest" in told(imported)


def test_runs_that_do_not_end_at_their_best_are_named(tmp_path: Path) -> None:
    facts = {"n_active": 1e8, "tokens": 2e9}
    write_events(tmp_path / "good", {"loss": curve(3.0)}, facts=facts)
    write_events(tmp_path / "up", {"loss": [*curve(3.0), (1100, 3.3)]}, facts=facts)
    write_events(tmp_path / "lost", {"loss": [*curve(3.0), (1100, float("nan"))]}, facts=facts)
    early = {"loss": curve(3.1, 900), "lr": [(1000, 0.0)]}
    write_events(tmp_path / "early", early, facts=facts)
    imported = import_runs(tmp_path, folders=True)
    assert imported.table["run_id"].tolist() == ["early", "good", "lost", "up"]
    assert imported.table["status"].tolist() == ["finished", "finished", "diverged", "finished"]
    assert imported.table["loss"].tolist()[3] == 3.3  # the last, and not the lowest
    words = told(imported)
    assert "loss, row 4: ends above its lowest value (up by 10.0 %)" in words
    assert "loss, row 1: last measured before the run ended (early at 900 of 1000)" in words


def test_an_unfinished_file_is_read_and_named(tmp_path: Path) -> None:
    path = write_events(tmp_path / "a", {"loss": [(1, 3.0), (2, 2.9)]})
    path.write_bytes(path.read_bytes()[:-5])
    source = read_runs(tmp_path)
    assert source.cells["loss"].tolist() == ["3.0"]
    assert "a/events.out" in source.findings[0].text and source.findings[0].doubt


@pytest.mark.parametrize("scalars", [False, True])
def test_a_folder_without_scalars_is_refused(tmp_path: Path, scalars: bool) -> None:
    if scalars:
        write_events(tmp_path / "a", {})
    with pytest.raises(InputError, match="hold no scalar" if scalars else "no TensorBoard event"):
        read_runs(tmp_path)


def test_progress_is_told_by_file(tmp_path: Path) -> None:
    for name in "abc":
        write_events(tmp_path / name, {"loss": [(1, 3.0)]})
    seen: list[tuple[int, int]] = []
    read_runs(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
