"""The paper's five experiments, as its appendix C declares them."""

import io
import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from pyro_infogan import InfoGAN, Objective, Rates, datasets, evaluate, families, train
from pyro_infogan.cli import main
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.models import Experiment, Variation, built_in

# Image shape, and width of the generator's input: noise and encoded codes.
TABLE = {
    "mnist": ((1, 28, 28), 74),
    "mnist-paper": ((1, 28, 28), 74),
    "mnist-digit": ((1, 28, 28), 72),
    "svhn": ((3, 32, 32), 168),
    "celeba": ((3, 32, 32), 228),
    "faces": ((1, 32, 32), 133),
    "chairs": ((1, 64, 64), 189),
    "chairs-small": ((1, 32, 32), 189),
    # No paper's.
    "images": ((3, 32, 32), 72),
    "images-64": ((3, 64, 64), 72),
}
# Learning rates of D and G, λ of continuous codes and of categories.
VARIATIONS = {
    ("faces", "azimuth"): (2e-4, 5e-4, 0.2, None),
    ("faces", "elevation"): (4e-4, 3e-4, 0.1, None),
    ("faces", "lighting"): (8e-4, 3e-4, 0.1, None),
    ("faces", "width"): (8e-4, 3e-4, 0.1, None),
    ("chairs", "rotation"): (2e-4, 1e-3, 10.0, 1.0),
    ("chairs", "width"): (2e-4, 1e-3, 0.05, 2.0),
    ("svhn", "lighting"): (2e-4, 1e-3, 0.2, 0.1),
    ("celeba", "glasses"): (2e-4, 1e-3, None, 1.0),
}


def test_every_experiment_is_in_the_table():
    known = built_in()
    assert set(known) == set(TABLE)
    varied = {(name, each) for name, one in known.items() for each in one.variations}
    assert varied == set(VARIATIONS)


@pytest.mark.parametrize("name", TABLE)
def test_codes_and_noise_are_the_papers(name):
    shape, inputs = TABLE[name]
    experiment = built_in()[name]
    assert experiment.image_shape == shape
    gan = InfoGAN.from_experiment(experiment)
    assert gan.noise + gan.prior.width == inputs


@pytest.mark.parametrize(("name", "variation"), VARIATIONS)
def test_rates_and_weights_of_the_variations(name, variation):
    experiment = built_in()[name].varied(variation)
    d, g, continuous, categorical = VARIATIONS[name, variation]
    assert experiment.rates == Rates(discriminator=d, generator=g)
    gan = InfoGAN.from_experiment(experiment)
    for code, weight in gan.information_weights.items():
        assert weight == (categorical if gan.prior.is_discrete(code) else continuous)


def test_glasses_are_left_where_light_and_place_tell_nothing():
    """All ten categories must survive, and the images stay as noisy as celeba's own."""
    celeba = built_in()["celeba"]
    objective = celeba.varied("glasses").objective
    assert set(objective.invariance.codes) == set(celeba.codes)
    assert replace(objective, invariance=None) == celeba.objective


@pytest.mark.parametrize("name", ["faces", "chairs"])
def test_the_first_of_the_papers_variations_is_the_default(name):
    experiment = built_in()[name]
    assert experiment.varied(next(iter(experiment.variations))) == experiment


@pytest.mark.parametrize("name", ["svhn", "celeba", "faces", "chairs", "chairs-small"])
def test_the_drawn_stand_in_trains_and_is_followed(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path))
    experiment = built_in()[name]
    drawn = partial(experiment.data, 64)
    experiment = replace(experiment, data=drawn)
    torch.manual_seed(0)
    gan = InfoGAN.from_experiment(experiment)
    lines = train(gan, experiment.images(train=True), steps=1, batch_size=16, progress=False)
    held_out = experiment.images(train=False)
    assert held_out.factors
    assert {f"info/{code}" for code in gan.prior.sites} <= set(lines[-1])
    report = evaluate(gan, held_out, draws=50)
    assert set(report.following) == set(held_out.factors)
    for found in report.following.values():
        assert set(found.every) == set(gan.prior.sites)
        assert found.value == found.every[found.label]


def faces(folder, n=24):
    """A folder of face pictures, as datasets.faces reads it."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    shades = torch.randint(256, (n,), generator=generator).tolist()
    for index, shade in enumerate(shades):
        Image.new("L", (32, 32), shade).save(folder / f"{index:02}.png")
    rows = [f"{index:02}.png,{shade}" for index, shade in enumerate(shades)]
    (folder / "factors.csv").write_text("\n".join(["file,lighting", *rows]) + "\n")


def test_real_files_take_the_place_of_drawn_ones(tmp_path, capsys):
    faces(tmp_path / "faces")
    out = tmp_path / "run"
    command = ["train", "faces", "--data", tmp_path / "faces", "--variation", "elevation"]
    main([*map(str, command), "--steps", "1", "--batch-size", "8", "--out", str(out)])
    assert f"images: {tmp_path / 'faces'}, read by faces" in capsys.readouterr().out
    record = json.loads((out / "run.json").read_text())
    assert record["data"] == str(tmp_path / "faces")
    assert record["settings"]["rates"]["discriminator"] == 4e-4
    main(["evaluate", str(out), "--draws", "50"])
    report = json.loads((out / "report.json").read_text())
    assert set(report["following"]) == {"lighting"}
    main(["figures", str(out)])
    assert (out / "factor-lighting.png").stat().st_size > 1_000


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train", "mnist", "--data", "somewhere"], "has its own images"),
        (["train", "mnist", "--variation", "azimuth"], "expected none"),
        (["train", "faces", "--variation", "rotation"], "azimuth, elevation, lighting, width"),
        (["train", "svhn", "--data", "nowhere"], "nowhere"),
    ],
)
def test_what_an_experiment_does_not_have(command, said, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--out", str(tmp_path / "run")])
    assert stop.value.code == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "read by None" not in told.out
    assert not (tmp_path / "run").exists()


def test_a_path_need_not_be_text(tmp_path, monkeypatch):
    """On a terminal that writes no half characters; Python lets errors escape them."""
    folder = tmp_path / os.fsdecode(b"faces\xff")
    faces(folder)
    told = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
    monkeypatch.setattr(sys, "stdout", told)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"))
    command = ["train", "faces", "--data", folder, "--out", tmp_path / "run"]
    main([*map(str, command), "--steps", "1", "--batch-size", "8"])
    told.seek(0)
    assert r"faces\udcff, read by faces" in told.read()


def test_the_source_is_told():
    known = built_in()
    assert known["mnist"].source() == "mnist"
    assert known["faces"].source() == "rendered_faces; --data PATH gives those of faces"
    small = known["chairs-small"].source(Path("folder"))
    assert small == "folder, read by chairs"
    with pytest.raises(DeclarationError, match="no images of its own"):
        replace(known["faces"], data=None).source()


def test_a_users_experiment_may_have_both(tmp_path):
    def drawn(train=True):
        return torch.zeros(8, 1, 8, 8)

    def real(path, train=True):
        raise DataError("files", got=path, expected="some", fix="Bring them.")

    mine = Experiment(
        codes={}, image_shape=(1, 8, 8), data=drawn, real=real,
        posterior={"c": families.Beta},
        variations={
            "slow": Variation(Rates(1e-5, 1e-5), {}),
            "fixed": Variation(Rates(), {}, {"c": families.FixedNormal}),
            "noisy": Variation(Rates(), {}, objective=Objective(instance_noise=0.2)),
        },
    )  # fmt: skip
    assert mine.images(train=True).shape == (8, 1, 8, 8)
    with pytest.raises(DataError, match="Bring them"):
        mine.images(train=True, path=tmp_path)
    assert mine.varied("slow").rates.generator == 1e-5
    assert mine.varied("slow").posterior == mine.posterior
    assert mine.varied("fixed").posterior == {"c": families.FixedNormal}
    assert mine.varied("fixed").objective == mine.objective
    assert mine.varied("noisy").objective.instance_noise == 0.2
    with pytest.raises(DeclarationError, match="slow"):
        mine.varied("fast")
    assert datasets.faces.__name__ == "faces"
