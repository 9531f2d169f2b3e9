"""Studies in TOML files and on the command line."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blackbox_xai import study
from blackbox_xai.cli_study import app
from blackbox_xai.errors import InvalidInput

SMOKE = Path(__file__).parents[2] / "experiments" / "studies" / "smoke.toml"


def test_smoke_bill_run_resume_report(tmp_path):
    runner = CliRunner()
    bill = runner.invoke(app, ["bill", str(SMOKE)])
    assert bill.exit_code == 0, bill.output
    total = next(int(line.split()[-1]) for line in bill.output.splitlines() if line.startswith("total rows"))
    dry = runner.invoke(app, ["run", str(SMOKE), "--out", str(tmp_path / "out"), "--dry-run"])
    assert str(total) in dry.output
    assert not (tmp_path / "out").exists()
    assert "limit" not in dry.output
    short = runner.invoke(
        app, ["run", str(SMOKE), "--out", str(tmp_path / "out"), "--dry-run", "--limit", str(total - 1)]
    )
    assert "too few: it would not start" in short.output
    refused = runner.invoke(app, ["run", str(SMOKE), "--out", str(tmp_path / "no"), "--limit", str(total - 1)])
    assert refused.exit_code == 2
    assert "none was sent" in refused.output
    begin = time.perf_counter()
    ran = runner.invoke(app, ["run", str(SMOKE), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert time.perf_counter() - begin < 60
    with (tmp_path / "out" / "results.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert {(r["method"], r["budget"], r["seed"]) for r in rows} == {
        (m, b, s) for m in ("kernelshap", "permutation", "gefa") for b in ("64", "256") for s in ("0", "1")
    }
    assert study.Results(tmp_path / "out").described()["used"] == total
    again = runner.invoke(app, ["run", str(SMOKE), "--out", str(tmp_path / "out")])
    assert again.exit_code == 0
    assert study.Results(tmp_path / "out").described()["used"] == total
    assert runner.invoke(app, ["report", str(tmp_path / "out")]).exit_code == 0


def test_the_file_is_the_dataclass(tmp_path):
    read = study.read(SMOKE)
    assert read.budgets == (64, 256)
    assert [m.label for m in read.all_methods] == ["kernelshap", "permutation", "gefa"]
    assert [s.name for s in read.all_scores] == ["shapley", "deletion"]
    assert len(read.made().subject.instances) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 3 4", "cannot be read"),
        ("name = 'x'\nspeed = 3", "nobody reads: speed"),
        ("name = 'x'", "lacks budgets, methods, subject"),
        ("name='x'\nbudgets=[1]\n[subject]\nbuild='nowhere'\n[[methods]]\nname='gefa'", "needs build"),
        ("name='x'\nbudgets=[1]\n[subject]\nbuild='a.py:b'\n[[methods]]\nname='gefa'\nwarp=9", "warp"),
        ("name='x'\nbudgets=[1]\n[subject]\nbuild='a.py:b'\n[[methods]]\nname='gefa'\n[[scores]]\nname='joy'", "joy"),
    ],
)
def test_mistakes_say_what_and_where(tmp_path, text, message):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        study.read(file)


def test_subject_files_and_options_that_do_not_fit(tmp_path):
    with pytest.raises(InvalidInput, match="takes no --data"):
        study.read(SMOKE, data="x").made()
    file = tmp_path / "bad.toml"
    file.write_text(SMOKE.read_text().replace("../subjects/cancer_table.py", "gone.py"))
    with pytest.raises(InvalidInput, match="does not exist"):
        study.read(file).made()
    out = CliRunner().invoke(app, ["bill", str(file)])
    assert out.exit_code == 2
    assert "does not exist" in out.output
