"""The sweep file is read strictly, and every mistake is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.rules import load_rules
from sweeps.sweep_file import load_sweep

WriteSweep = Callable[..., Path]
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "sweeps").glob("*.toml"))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("flops = 3e12", "flops = 3e12\nflop = 1", "target.flop"),
        ("[loss]", "[losses]\n[loss]", "losses"),
        ("flops = 3e12", 'flops = "3e12"', "target.flops"),
        ("width_step = 8", "width_step = 8.5", "family.width_step"),
        ("conv = true", "conv = 1", "family.conv"),
        ("conv = true", "conv = true\nexperts = 0", "experts"),
        ("budgets = [5e10, 1e11]", "budgets = [1e11, 5e10]", "budgets must rise"),
        ("budgets = [5e10, 1e11]", "lowest = 5e10", "per_decade"),
        ("kv_group = 2", "kv_group = 3", "multiple of head_dim"),
        ("text = 0.5", "text = 0.6", "sum to 1"),
        ("text = 0.5", "code = 0.5", "no source of kind code"),
        ("[family.vision]", "", "vision"),
        ("ratios = [30]", "ratios = []", "ratios"),
        ("ratios = [30]", "grid = [0.5, 2]", "grid must hold 1"),
        ('origin = "botocore"\nweight = 0.6', 'origin = "botocore"\nweight = -1', "weight"),
    ],
)
def test_mistake_is_named_with_the_file(
    write_sweep: WriteSweep, old: str, new: str, named: str
) -> None:
    path = write_sweep((old, new))
    with pytest.raises(ValueError) as caught:
        load_sweep(path)
    assert str(caught.value).startswith(str(path))
    assert named in str(caught.value)


def test_all_keys_that_are_wrong_are_named_at_once(write_sweep: WriteSweep) -> None:
    path = write_sweep(
        ("flops = 3e12", "flop = 3e12\nflavour = 1"),
        ("vocab = 512", "vocabs = 512"),
        ("conv = true", "convolution = true"),
        ('kind = "text"', 'kid = "text"'),
        ("[loss]", "[losses]"),
    )
    with pytest.raises(ValueError) as caught:
        load_sweep(path)
    what, remedy = str(caught.value).split("\n")
    for fault in (
        "unknown key 'target.flop' (did you mean flops?)",
        "unknown key 'target.flavour' (allowed: flops, tokens_per_param)",
        "unknown key 'data.vocabs' (did you mean vocab?)",
        "unknown key 'family.convolution' (allowed: ",
        "unknown key 'data.sources[0].kid' (did you mean kind?)",
        "unknown key 'losses' (did you mean loss?)",
    ):
        assert fault in what
    assert "missing key" not in what and "documents" in remedy


def test_missing_keys_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text("[target]\n[data]\nvocab = 512\n")
    with pytest.raises(ValueError) as caught:
        load_sweep(path)
    for key in ("ladder", "family", "loss", "target.flops", "data.context"):
        assert f"missing key '{key}'" in str(caught.value)


def test_a_sweep_file_that_is_not_there_is_sought_nearby(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_text("")
    with pytest.raises(ValueError, match=r"\ndid you mean \S+/large.toml\?"):
        load_sweep(tmp_path / "lage.toml")
    with pytest.raises(ValueError, match=r"\nthere are: \S*large.toml"):
        load_sweep(tmp_path)


def test_text_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[target\n")
    with pytest.raises(ValueError, match=r"broken\.toml: not valid TOML"):
        load_sweep(path)
    with pytest.raises(ValueError, match="cannot be read"):
        load_sweep(tmp_path / "absent.toml")


def test_own_text_takes_the_prose_sources_share_and_is_seen_from_the_file(
    write_sweep: WriteSweep, tmp_path: Path
) -> None:
    (tmp_path / "books").mkdir()
    sweep = load_sweep(write_sweep(("vocab = 512", 'vocab = 512\ntext = "books"')))
    own, digits = sweep.data.resolved()
    assert (own.name, own.kind, own.weight) == ("text", "text", 0.6)
    assert own.origin == str(tmp_path / "books")
    assert digits.origin == "digits"
    assert sweep.mixture == pytest.approx({"text": 0.6, "digits": 0.4})
    assert sweep.data.spec().mixture == pytest.approx(sweep.mixture)


def test_own_text_alone_is_enough(write_sweep: WriteSweep) -> None:
    path = write_sweep()
    head, tail = path.read_text().split("[[data.sources]]", 1)
    loss = "[loss]\ntext = 1.0\n"
    path.write_text(head.replace("[data]", '[data]\ntext = "hf:wikitext:text"') + loss)
    assert tail  # the sources that were cut off
    (source,) = load_sweep(path).data.resolved()
    assert (source.origin, source.weight) == ("hf:wikitext:text", 1.0)


def test_name_defaults_to_the_file(write_sweep: WriteSweep) -> None:
    assert load_sweep(write_sweep()).name == "small"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_load_with_their_rules(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.name == path.stem
    rules = load_rules(sweep.training.rules)
    for rule in (rules.learning_rate, rules.batch, rules.warmup, rules.weight_decay):
        assert len(rule.evidence.split()) > 5


def test_unknown_rules_are_named() -> None:
    with pytest.raises(ValueError, match="no rules 'nonsense'; there are complete-p"):
        load_rules("nonsense")
