"""The house keeps its shape: who may import whom, and how long a file and a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("fits", "model", "reports", "sweeps", "workbench")
MAY_IMPORT: dict[str, set[str]] = {
    "fits": set(),
    "model": set(),
    "sweeps": {"model"},
    "reports": {"fits"},
    "workbench": {"fits", "model", "reports", "sweeps"},
}
ONLY_IN = {"torch": "model", "matplotlib": "reports"}
ONE_FILE = ("flash_attn", "submitit", "typst")
# What sweeps may take of model: these files import no torch, so that a plan needs none.
TORCH_FREE = (
    "model.records",
    "model.architecture.shape",
    "model.architecture.accounting",
    "model.data.spec",
    "model.data.mixture",
    "model.training.lock",
    "model.training.spec",
    "model.training.result",
)
FILE_LINES, FUNCTION_LINES = 300, 50
LONGER_FILES: dict[str, str] = {}  # path: reason
LONGER_FUNCTIONS: dict[str, str] = {}  # path:name: reason
UNWANTED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "cfg", "misc"}
# All that may be tracked at the top, files by their names.
TOP_LEVEL = {*ROOMS, "tests", "benchmarks", "docs", ".ci", "pyproject.toml", "Makefile"}
TOP_LEVEL |= {"README.md", "CHANGELOG.md", "LICENSE", "constraints.txt", ".gitignore"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Every absolute module that the file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import at line {node.lineno}"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def roots(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


@pytest.mark.parametrize("path", sources(), ids=name)
def test_rooms_import_only_what_they_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    strangers = (roots(path) & set(ROOMS)) - MAY_IMPORT[room] - {room}
    assert not strangers, f"{name(path)} imports {sorted(strangers)}"
    for package, owner in ONLY_IN.items():
        assert room == owner or package not in roots(path), f"{name(path)} imports {package}"


@pytest.mark.parametrize("package", ONE_FILE)
def test_package_is_imported_in_one_file(package: str) -> None:
    files = [name(path) for path in sources() if package in roots(path)]
    assert len(files) <= 1, f"{package} is imported in {files}"


def test_sweeps_take_only_what_needs_no_torch() -> None:
    files = {module.replace(".", "/") + ".py" for module in TORCH_FREE}
    for path in sorted((ROOT / "sweeps").rglob("*.py")):
        used = {module for module in imports(path) if module.startswith("model.")}
        modules = {m for m in used if (ROOT / (m.replace(".", "/") + ".py")).is_file()}
        strangers = {m for m in modules if m.replace(".", "/") + ".py" not in files}
        assert not strangers, f"{name(path)} imports {sorted(strangers)}"
    taken = {module for path in (ROOT / "sweeps").rglob("*.py") for module in imports(path)}
    assert set(TORCH_FREE) <= taken, "a file is listed that sweeps does not use"


def test_sweeps_import_where_there_is_no_torch() -> None:
    modules = [
        name(path).removesuffix(".py").replace("/", ".")
        for path in sorted((ROOT / "sweeps").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    blocked = ("torch", "tokenizers", "safetensors", "submitit", "typst")
    code = f"import sys, importlib; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    code += f"for name in {modules!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_top_level_holds_the_house_and_no_more() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    tops = {Path(tracked).parts[0] for tracked in listed.stdout.split("\0") if tracked}
    assert tops <= TOP_LEVEL, f"not in the design: {sorted(tops - TOP_LEVEL)}"
    assert tops >= {*ROOMS, "tests", "pyproject.toml", "Makefile"}


@pytest.mark.parametrize("path", sources(), ids=name)
def test_files_and_functions_can_be_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES or name(path) in LONGER_FILES, f"{name(path)}: {lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            key = f"{name(path)}:{node.name}"
            assert length <= FUNCTION_LINES or key in LONGER_FUNCTIONS, f"{key}: {length} lines"


def test_no_room_for_leftovers() -> None:
    for path in sources():
        assert not set(path.relative_to(ROOT).with_suffix("").parts) & UNWANTED_NAMES, name(path)
        if path.name == "__init__.py":
            assert not path.read_text(encoding="utf-8").strip(), f"{name(path)} is not empty"
        assert not {"pickle", "dill", "joblib"} & roots(path), f"{name(path)} unpickles"


def test_every_package_is_listed_for_installation() -> None:
    import tomllib

    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    present = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in sources()
        if path.name == "__init__.py"
    }
    assert listed == present


def test_public_functions_and_classes_say_what_they_are() -> None:
    silent = []
    for path in sources():
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        if not ast.get_docstring(tree(path)):
            silent.append(name(path))
        for node in tree(path).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name[0] == "_":
                continue
            if not ast.get_docstring(node):
                silent.append(f"{name(path)}:{node.name}")
    assert not silent, f"no docstring: {silent}"
