"""Files: whole or not there, refused when damaged, and never run."""

import copy
import os
import pickle
from functools import partial
from pathlib import Path

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_infogan import InfoGAN, families, runs, train
from pyro_infogan.errors import DeclarationError, RunError
from pyro_infogan.models import networks as nets
from tests.conftest import small_codes


def test_saved_and_loaded(gan, images, tmp_path):
    gan.save(tmp_path / "gan.pt")
    again = InfoGAN.load(tmp_path / "gan.pt")
    assert not again.training
    assert again.declaration() == gan.declaration()
    torch.testing.assert_close(again.infer(images)["slant"].loc, gan.infer(images)["slant"].loc)
    noise, codes = gan.draw(3)
    torch.testing.assert_close(again.generate(3, codes, noise), gan.generate(3, codes, noise))


def test_every_choice_survives_saving(tmp_path):
    gan = InfoGAN(
        {"type": dist.Bernoulli(0.3).expand([2]).to_event(1), "u": dist.Uniform(0.0, 5.0)},
        (3, 9, 12),
        noise=3,
        posterior={"u": families.Normal},
        information_weights={"u": 0.7},
        networks=partial(nets.dcgan, width=4),
    )
    gan.save(tmp_path / "gan.pt")
    again = InfoGAN.load(tmp_path / "gan.pt")
    assert again.information_weights == {"type": 1.0, "u": 0.7}
    assert again.image_shape == (3, 9, 12)
    assert isinstance(again.networks, partial)
    assert (again.networks.func, again.networks.keywords) == (nets.dcgan, {"width": 4})


class Mine(nn.Module):
    """A user's own family."""

    def __init__(self, prior, features):
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features):
        return dist.Normal(self.linear(features).squeeze(-1), 1.0)


def test_own_parts_are_restored_but_not_loaded(tmp_path):
    def build():
        return InfoGAN({"u": dist.Uniform(-1.0, 1.0)}, (1, 8, 8), posterior={"u": Mine})

    gan = build()
    gan.save(tmp_path / "gan.pt")
    with pytest.raises(DeclarationError, match=r"Mine.*restore"):
        InfoGAN.load(tmp_path / "gan.pt")
    again = build().restore(tmp_path / "gan.pt")
    for mine, theirs in zip(gan.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_partial_of_a_family_is_saved_with_its_settings(tmp_path):
    def build(floor):
        posterior = {"u": partial(families.Normal, floor=floor)}
        return InfoGAN({"u": dist.Uniform(-1.0, 1.0)}, (1, 8, 8), posterior=posterior)

    build(0.05).save(tmp_path / "gan.pt")
    assert InfoGAN.load(tmp_path / "gan.pt").posterior.heads[0].floor == 0.05
    with pytest.raises(RunError, match="posterior"):
        build(0.5).restore(tmp_path / "gan.pt")


def test_own_weights_stay_as_they_were_built():
    def family(prior, features):
        head = Mine(prior, features)
        nn.init.constant_(head.linear.bias, -2.0)
        return head

    def networks(image_shape, inputs):
        pair = nets.dcgan(image_shape, inputs)
        nn.init.constant_(pair.trunk[0].weight, 7.0)
        return nets.Pair(pair.generator, pair.trunk, pair.features)

    codes = {"u": dist.Uniform(-1.0, 1.0)}
    gan = InfoGAN(codes, (1, 8, 8), posterior={"u": family}, networks=networks)
    assert gan.posterior.heads[0].linear.bias.item() == -2.0
    assert (gan.trunk[0].weight == 7.0).all()


def test_refused_weights_leave_those_that_were_there(gan, tmp_path):
    contents = gan.contents()
    weights = {name: value + 1 for name, value in contents["weights"].items()}
    last = list(weights)[-1]
    weights[last] = weights[last].flatten()[:0]
    runs.write(tmp_path / "gan.pt", contents | {"weights": weights})
    before = copy.deepcopy(gan.state_dict())
    with pytest.raises(RunError, match=last):
        gan.restore(tmp_path / "gan.pt")
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())


def test_a_codes_name_does_not_have_the_users_file_run(images, tmp_path):
    """A declaration that holds no code of the user's is read as data, whatever its words."""
    file = tmp_path / "experiment.py"
    file.write_text("raise AssertionError('this file was run')\n")
    gan = InfoGAN({"opaque": dist.Uniform(-1.0, 1.0)}, (1, 8, 8), noise=4)
    how = {"steps": 1, "batch_size": 4, "out": tmp_path / "run", "progress": False}
    train(gan, images, experiment="mine", experiment_file=file, **how)
    assert list(InfoGAN.load(tmp_path / "run").prior.sites) == ["opaque"]


def test_another_declaration_is_named(gan, tmp_path):
    gan.save(tmp_path / "gan.pt")
    other = InfoGAN(small_codes() | {"slant": dist.Uniform(-2.0, 2.0)}, (1, 8, 8), noise=4)
    before = [value.clone() for value in other.parameters()]
    with pytest.raises(RunError, match=r"codes .*2\.0"):
        other.restore(tmp_path / "gan.pt")
    for value, was in zip(other.parameters(), before, strict=True):
        assert torch.equal(value, was)


def test_truncated_files_are_refused(gan, tmp_path):
    path = tmp_path / "gan.pt"
    gan.save(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match="whole checkpoint"):
            InfoGAN.load(path)


def test_foreign_files_are_refused(tmp_path):
    torch.save({"weights": {}}, tmp_path / "foreign.pt")
    with pytest.raises(RunError, match="format"):
        InfoGAN.load(tmp_path / "foreign.pt")
    runs.write(tmp_path / "half.pt", {"weights": {}})
    with pytest.raises(RunError, match="'declaration'"):
        InfoGAN.load(tmp_path / "half.pt")
    with pytest.raises(RunError, match="does not exist"):
        InfoGAN.load(tmp_path / "missing.pt")
    with pytest.raises(RunError, match="no checkpoint"):
        InfoGAN.load(tmp_path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_a_malicious_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "declaration": Bomb()}, tmp_path / "bomb.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps({"format": 1, "declaration": Bomb()}))
    for name in ("bomb.pt", "raw.pt"):
        with pytest.raises(RunError, match="cannot be read"):
            InfoGAN.load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_a_damaged_newest_checkpoint_is_passed_over(gan, images, tmp_path):
    train(gan, images, steps=4, batch_size=8, out=tmp_path, save_every=2, progress=False)
    (_, older), (_, newest) = runs.Run(tmp_path).checkpoints()
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match=older.name):
        InfoGAN.load(tmp_path)
    older.write_bytes(b"")
    with pytest.raises(RunError, match="cannot be read"):
        InfoGAN.load(tmp_path)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    runs.write_text(path, "good")

    def fail(file):
        file.write(b"half")
        raise OSError("no space left")

    with pytest.raises(RunError, match="no space left"):
        runs.replace(path, fail)
    assert path.read_text() == "good"
    # A reader that has the file open keeps the old one whole: the new one is another file.
    with path.open() as reader:
        runs.write_text(path, "better")
        assert reader.read() == "good"
    assert path.read_text() == "better"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is full")
def test_a_full_disk_is_called_that(gan, tmp_path, monkeypatch):
    opened = type(tmp_path).open
    monkeypatch.setattr(
        type(tmp_path),
        "open",
        lambda path, mode="r": (
            opened(Path("/dev/full"), mode) if mode == "wb" else opened(path, mode)
        ),
    )
    with pytest.raises(RunError, match="No space left on device"):
        gan.save(tmp_path / "gan.pt")


def test_a_folder_in_place_of_a_file_is_refused(gan, tmp_path):
    with pytest.raises(RunError, match=r"got a folder, expected a file"):
        gan.save(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="writing"):
        runs.write_text(tmp_path / "file" / "inside", "text")
    with pytest.raises(RunError, match="writing"):
        runs.Run(tmp_path / "nowhere").append({"step": 1})


def test_a_last_line_cut_short_is_left_out(tmp_path):
    run = runs.Run(tmp_path)
    run.append({"step": 1})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 2, "lo')
    assert list(run.metrics()) == [{"step": 1}]
    run.forget_after(0)
    assert list(run.metrics()) == []
