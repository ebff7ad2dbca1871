"""Profiles: the shipped ones load, and a mistake names file and key."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sweeps.slurm.profile import PROFILES, Frozen, Price, Profile, Resources, load_profile


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_profiles_load_by_name(path: Path) -> None:
    profile = load_profile(path.stem)
    assert profile.name == path.stem
    assert profile == load_profile(str(path))
    assert (profile.execution is None) == (profile.ladder.gpus == 0)


def test_there_is_one_for_cpus_one_for_a_node_and_one_for_several() -> None:
    cpu, node, several = (load_profile(n) for n in ("cpu", "one-node-8-gpu", "multi-node"))
    assert cpu.ladder.gpus == 0 and cpu.ladder.cpus > 1
    assert node.ladder.gpus == 8 and node.ladder.nodes == 1
    assert several.resources("target").nodes > 1


def test_the_page_for_users_has_every_key_and_its_default() -> None:
    page = (PROFILES.parents[1] / "docs" / "slurm.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", page, re.MULTILINE))
    for kind in (Profile, Resources, Frozen, Price):
        for key in fields(kind):
            assert f"`{key.name}`" in page or f"`[{key.name}]`" in page, key.name
            if key.name in rows and isinstance(key.default, int | float | str):
                assert rows[key.name].strip('`"') == f"{key.default}".removesuffix(".0"), key.name
    assert len(rows) > 8


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "missing key 'ladder'"),
        ("[ladder]\ncpu = 2", "unknown key 'ladder.cpu'"),
        ("[ladder]\ngpus = -1", "ladder: gpus must lie in"),
        ('[ladder]\ntime = "90"', "time must be"),
        ('[ladder]\ntime = "0:00:30"', "a minute at least"),
        ('[ladder]\nmemory = "lots"', "memory must be"),
        ('signal_seconds = 60\n[ladder]\ntime = "0:01:00"', "signal_seconds must be below"),
        ('partition = "cpu\\ntouch x"\n[ladder]', "partition must be one line"),
        ('[ladder]\n[service]\naccount = "a\\tb"', "service: account must be one line"),
        ('srun = ["-v\\ntouch x"]\n[ladder]', "srun must be one line"),
        ('[ladder]\n[sbatch]\n"nice\\n" = "1"', "sbatch must be one line"),
        ('python = "python\\n"\n[ladder]', "python must be one line"),
        ("[ladder", "not valid TOML"),
        ('[ladder]\n[execution]\ndevice = "tpu"', "'execution.device' must be one of"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match="mine") as error:
        load_profile(str(path))
    assert str(error.value).startswith(str(path)) and named in str(error.value)


def test_an_unknown_profile_lists_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match=r"nowhere: no such profile\n.*cpu, multi-node, one-node"):
        load_profile("nowhere")


@pytest.mark.parametrize(
    ("time", "seconds"), [("0:01:00", 60), ("12:30:15", 45015), ("2-01:00:00", 176400)]
)
def test_times_are_slurms(time: str, seconds: int) -> None:
    assert Resources(time=time).seconds == seconds


def test_a_jobs_own_account_and_partition_come_first(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'account = "a"\npartition = "gpu"\n[ladder]\n[service]\npartition = "cpu"\nqos = "short"\n'
    )
    profile = load_profile(str(path))
    ladder, service = profile.resources("ladder"), profile.resources("service")
    assert (ladder.account, ladder.partition, ladder.qos) == ("a", "gpu", None)
    assert (service.account, service.partition, service.qos) == ("a", "cpu", "short")
    assert profile.resources("target") == ladder
