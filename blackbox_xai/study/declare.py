"""A study from a TOML file: the same record, written down."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import tomllib
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from .group_scores import GroupScore
from .scores import Score
from .spec import SCORES, Method, Study, Subject

_TOP = {"name", "budgets", "seeds", "judge", "keep_maps", "limit", "subject", "methods", "scores"}


def read(path: str | Path, *, data: str | None = None, weights: str | None = None) -> Study:
    """A study from a file.

    Parameters
    ----------
    path : TOML with ``name``, ``budgets``, ``seeds``, optional ``judge``, ``keep_maps``, ``limit``; a table
        ``[subject]`` with ``build = "file.py:function"`` (relative to the TOML file) or ``"module:function"`` and the
        function's arguments; ``[[methods]]`` with ``name``, optional ``label`` and ``players``, and the method's own
        parameters; ``[[scores]]`` with ``name`` and the score's own parameters.
    data, weights : passed to the subject's function where it takes them.

    Raises
    ------
    InvalidInput : a key that nobody reads, or a value that does not fit.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"study: {path} cannot be read: {error}") from error
    unknown = set(table) - _TOP
    if unknown:
        raise InvalidInput(f"study: {path} has keys that nobody reads: {', '.join(sorted(unknown))}.")
    missing = {"name", "budgets", "subject", "methods"} - set(table)
    if missing:
        raise InvalidInput(f"study: {path} lacks {', '.join(sorted(missing))}.")
    subject = dict(table["subject"])
    build = subject.pop("build", None)
    if not isinstance(build, str) or ":" not in build:
        raise InvalidInput(f"study: {path}: [subject] needs build = 'file.py:function' or 'module:function'.")
    given = {k: v for k, v in (("data", data), ("weights", weights)) if v is not None}
    maker = functools.partial(_built, str(path.parent.resolve()), build, subject, given)
    return Study(
        name=table["name"],
        subject=maker,
        methods=[_method(path, m) for m in table["methods"]],
        budgets=table["budgets"],
        seeds=table.get("seeds", (0,)),
        scores=[_score(path, s) for s in table.get("scores", [{"name": "deletion"}])],
        judge=table.get("judge", {}),
        keep_maps=table.get("keep_maps", 3),
        limit=table.get("limit"),
        settings={"subject": {"build": build, **subject}},
    )


def _method(path: Path, entry: Any) -> Method:
    if not isinstance(entry, dict) or "name" not in entry:
        raise InvalidInput(f"study: {path}: each [[methods]] needs a name.")
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != "name"}
    return Method.named(entry["name"], **rest)


def _score(path: Path, entry: Any) -> Score | GroupScore:
    if not isinstance(entry, dict) or entry.get("name") not in SCORES:
        raise InvalidInput(f"study: {path}: score {entry!r} is unknown; there are {', '.join(sorted(SCORES))}.")
    try:
        return SCORES[entry["name"]](**{k: v for k, v in entry.items() if k != "name"})
    except TypeError as error:
        raise InvalidInput(f"study: {path}: score {entry['name']!r}: {error}.") from error


def _built(folder: str, build: str, arguments: dict[str, Any], given: dict[str, Any]) -> Subject:
    """Call the subject's function. Importable by name, so that it travels to workers."""
    source, _, name = build.rpartition(":")
    if source.endswith(".py"):
        file = (Path(folder) / source).resolve()
        module_name = "blackbox_xai_subject_" + file.stem
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None or not file.exists():
            raise InvalidInput(f"study: subject file {file} does not exist.")
        module = sys.modules.get(module_name)
        if module is None or getattr(module, "__file__", None) != str(file):
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
    else:
        module = importlib.import_module(source)
    function = getattr(module, name, None)
    if function is None:
        raise InvalidInput(f"study: {source} has no function {name!r}.")
    taken = inspect.signature(function).parameters
    unused = [k for k in given if k not in taken]
    if unused:
        raise InvalidInput(f"study: this study's subject takes no --{unused[0]}.")
    made = function(**arguments, **given)
    if not isinstance(made, Subject):
        raise InvalidInput(f"study: {build} gave a {type(made).__name__}, not a Subject.")
    return made
