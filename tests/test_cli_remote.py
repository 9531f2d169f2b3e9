"""The commands for models behind an API, against a server that counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blackbox_xai import cli
from tests.servers.run import hostile


def table(tmp_path: Path) -> str:
    rows = np.vstack([np.zeros(8), np.linspace(-1, 1, 8), np.ones(8)])
    path = tmp_path / "t.csv"
    np.savetxt(path, rows, delimiter=",", header=",".join("abcdefgh"), comments="")
    return str(path)


def test_explain_an_endpoint_and_read_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "a.db")
    with hostile(p429=0.2, p500=0.1) as server:
        command = [
            "explain",
            "--csv",
            table(tmp_path),
            "--row",
            "1",
            "--baseline-rows",
            "0:1",
            "--endpoint",
            server.url,
        ]
        command += [
            "--model",
            "m",
            "--budget",
            "120",
            "--spare",
            "120",
            "--store",
            store,
            "--batch-size",
            "8",
            "-q",
            "--json",
        ]
        assert cli.main(command) == 0
        first = json.loads(capsys.readouterr().out)
        rows = server.stats()["rows"]
        assert cli.main(command) == 0
        again = json.loads(capsys.readouterr().out)
        assert server.stats()["rows"] == rows
    assert again["values"] == first["values"]
    assert (first["ledger"]["answered"], again["ledger"]["from_store"]) == (120, 120)
    assert cli.main(["ledger", "--store", store, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["oracles"][0]["answered"] == 120
    assert [b["saved"] for b in found["budgets"]] == [0, 120]
    assert cli.main(["ledger", "--store", store]) == 0
    assert "120 answers kept" in capsys.readouterr().out
    assert cli.main(["ledger", "verify", "--store", store]) == 0
    assert "the books add up" in capsys.readouterr().out
    assert cli.main(["ledger", "--store", str(tmp_path / "none.db")]) == 2
    assert "no store" in capsys.readouterr().err


def test_probe(capsys: pytest.CaptureFixture[str]) -> None:
    with hostile(latency_s=(0.01, 0.01)) as server:
        command = ["probe", server.url, "--model", "m", "--columns", "8", "--price-per-query", "0.002"]
        assert cli.main([*command, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert server.stats()["rows"] == 3 * (1 + 8 + 64)
        assert cli.main(command) == 0
    assert found["paths"] == {"/v2/health/ready": 200, "/v2/models/m": 200}
    assert list(found["speed"]) == ["1", "8", "64"]
    assert all(s["latency_s"] >= 0.01 for s in found["speed"].values())
    assert found["forecast"]["5000"]["cost"] == 10
    text = capsys.readouterr().out
    assert "batch of 64" in text
    assert "5000 queries: at least" in text
    assert cli.main(["probe", "http://127.0.0.1:9", "--model", "m"]) == 2
    assert "could not connect" in capsys.readouterr().err
    assert cli.main(["probe", "http://127.0.0.1:9", "--protocol", "openai-sampled"]) == 2
    assert "needs --model and --answer" in capsys.readouterr().err
