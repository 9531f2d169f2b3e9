"""Who may import whom, what an import costs, and that nothing heavy comes with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "blackbox_xai"
FACES = {"plots", "report", "cli", "cli_remote", "cli_study", "demo", "examples"}
ALL = {p.stem for p in ROOT.glob("*.py")} | {p.name for p in ROOT.iterdir() if p.is_dir()} - {"__pycache__"}
ALLOWED = {
    "errors": set(),
    "memory": {"errors"},
    "kernels": {"errors", "memory"},
    "masks": {"kernels", "errors"},
    "attribution": {"errors"},
    "budget": {"errors"},
    "oracles": {"budget", "errors", "memory"},
    "players": {"kernels", "masks", "oracles", "errors"},
    "game": {"kernels", "masks", "oracles", "errors", "players"},
    "samplers": {"kernels", "masks", "errors"},
    "exact": {"kernels", "masks", "errors"},
    "estimators": {"samplers", "exact", "kernels", "masks", "attribution", "errors"},
    "choices": {"errors", "estimators", "players"},
    "runs": ALL - FACES - {"study", "metrics", "whitebox", "resume", "driver"},
    "driver": ALL - FACES - {"study", "metrics", "whitebox", "resume"},
    "resume": ALL - FACES - {"study", "metrics", "whitebox"},
    "whitebox": ALL - FACES - {"study", "metrics"},
    "metrics": ALL - FACES - {"study"},
    "study": ALL - FACES,
}
INSIDE_METHODS = {"attribution": {"plots", "report", "resume"}}


def ours(tree: ast.AST, package: tuple[str, ...]) -> list[tuple[str, int, bool]]:
    """(our module's first part, line, whether inside a function) of each import of our own."""
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join([*module, a.name]) for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "blackbox_xai" and len(parts) > 1 and parts[1] in ALL:
                found.append((parts[1], node.lineno, id(node) in inside))
    return found


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    relative = path.relative_to(ROOT)
    part = relative.parts[0].removesuffix(".py")
    if part not in ALLOWED:
        assert part in FACES | {"__init__", "__main__"}, f"{relative}: say in this test what {part} may import"
        return
    package = ("blackbox_xai", *relative.parts[:-1])
    for name, line, inside in ours(ast.parse(path.read_text()), package):
        extra = INSIDE_METHODS.get(part, set()) if inside else set()
        assert name in ALLOWED[part] | extra | {part}, f"{relative}:{line} imports {name}"


def test_the_layer_test_sees_every_form() -> None:
    tree = ast.parse("from ..oracles.base import Meter\nfrom .. import game\ndef f():\n    import blackbox_xai.driver")
    expected = [("driver", 4, True), ("game", 2, False), ("oracles", 1, False)]
    assert sorted(ours(tree, ("blackbox_xai", "estimators"))) == expected


def test_import_is_light() -> None:
    heavy = "scipy numba sklearn torch sqlalchemy pandas matplotlib tqdm typer httpx2"
    code = (
        "import sys, blackbox_xai; from blackbox_xai import explain, estimators, samplers; "
        f"heavy = [m for m in {heavy.split()} if m in sys.modules]; assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_and_functions_can_be_read_in_a_sitting() -> None:
    for path in files():
        text = path.read_text()
        lines = text.count("\n")
        assert lines <= 500, f"{path} has {lines} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno <= 80, f"{path}:{node.lineno} {node.name}"
