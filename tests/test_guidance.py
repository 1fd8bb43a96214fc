"""Labels as observations of codes: semi-supervised InfoGAN."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import InfoGAN, families, train
from pyro_infogan.cli import main
from pyro_infogan.codes import CodePrior
from pyro_infogan.datasets import ImageSet, few_labels
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.inference import (
    INFOGAN,
    Alternating,
    Guidance,
    Invariance,
    Labels,
    Mixed,
    Objective,
    Rates,
    Step,
    checked_labels,
    scores,
)
from pyro_infogan.inference.adversarial import generator_loss

CODES = {
    "digit": dist.Categorical(torch.tensor([0.5, 0.3, 0.2])),
    "slant": dist.Uniform(-1.0, 1.0),
    "kind": dist.OneHotCategorical(torch.ones(2)),
    "style": dist.Normal(0.0, 1.0).expand([2]).to_event(1),
    "bold": dist.Bernoulli(0.5),
}
N = 16


def build(**options):
    torch.manual_seed(0)
    return InfoGAN(CODES, (1, 8, 8), noise=3, **options).train()


def labels_of(gan, **values):
    """Labels with every other image unlabelled."""
    known = torch.arange(N) % 2 == 0
    return {name: Labels(value, known) for name, value in values.items()}


def drawn(gan):
    torch.manual_seed(1)
    return torch.rand(N, 1, 8, 8), gan.prior.draw(N)


def posterior_gradients(gan, step, real, labels):
    """Gradients of Q's layers after one update of the discriminator, everything seeded."""
    torch.manual_seed(2)
    step.update_discriminator(real, step.draw(len(real)), labels)
    return [
        None if value.grad is None else value.grad.clone() for value in gan.posterior.parameters()
    ]


def test_labelled_real_images_are_all_that_trains_the_posterior_of_a_code():
    """Against λ2 E[log q(y | x)] on the labelled images, computed apart."""
    gan = build()
    real, codes = drawn(gan)
    labels = labels_of(gan, **codes)
    objective = Objective(guidance=Guidance(weight=3.0))
    step = Step(gan, objective, Rates(0.0, 0.0), guided=tuple(CODES))
    found = posterior_gradients(gan, step, real, labels)
    posterior = gan.posterior(gan.trunk(real))
    total = sum(posterior[name].log_prob(codes[name])[::2].mean() for name in CODES)
    truth = torch.autograd.grad(-3.0 * total, list(gan.posterior.parameters()))
    for mine, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(mine, exact, atol=1e-6, rtol=1e-4)
    # Without labelled images nothing reaches Q: generated ones do not train it.
    unlabelled = posterior_gradients(gan, step, real, None)
    assert all(value is None or value.abs().max() == 0 for value in unlabelled)


def test_labelled_images_train_the_trunk():
    def trunk_gradient(labels):
        gan = build()
        real, codes = drawn(gan)
        given = labels_of(gan, **codes) if labels else None
        posterior_gradients(gan, Step(gan, INFOGAN, Rates(0, 0), guided=tuple(CODES)), real, given)
        return torch.cat([value.grad.flatten() for value in gan.trunk.parameters()])

    assert (trunk_gradient(True) - trunk_gradient(False)).abs().max() > 1e-4


def test_other_codes_go_on_learning_from_generated_images():
    gan = build()
    real, codes = drawn(gan)
    step = Step(gan, INFOGAN, Rates(0.0, 0.0), guided=("digit",))
    posterior_gradients(gan, step, real, labels_of(gan, digit=codes["digit"]))
    heads = dict(zip(gan.posterior.keys, gan.posterior.heads, strict=True))
    for name in CODES:
        assert all(value.grad.abs().max() > 0 for value in heads[name].parameters()), name


def test_labels_of_unlabelled_images_mean_nothing():
    gan = build()
    real, codes = drawn(gan)
    step = Step(gan, INFOGAN, Rates(0.0, 0.0), guided=("slant",))
    labels = labels_of(gan, slant=codes["slant"])
    first = posterior_gradients(gan, step, real, labels)
    other = torch.where(labels["slant"].known, codes["slant"], torch.tensor(0.123))
    second = posterior_gradients(gan, step, real, labels_of(gan, slant=other))
    for mine, theirs in zip(first, second, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_generator_feels_the_posterior_of_labelled_codes_by_its_own_weight():
    gan = build(information_weights=dict.fromkeys(CODES, 0.5))
    step = Step(
        gan, Objective(guidance=Guidance(weight=2.0)), Rates(0.0, 0.0), guided=("digit", "slant")
    )
    torch.manual_seed(3)
    step.update_generator(step.draw(N))
    found = [value.grad.clone() for value in gan.generator.parameters()]
    torch.manual_seed(3)
    noise, codes = gan.draw(N)
    features = gan.trunk(gan.decode(noise, codes))
    scored = scores(gan.prior, gan.posterior(features), codes)
    weights = {name: 2.0 if name in ("digit", "slant") else 0.5 for name in CODES}
    cost = generator_loss(gan.discriminator(features)) - sum(
        weights[name] * scored[name] for name in CODES
    )
    truth = torch.autograd.grad(cost.mean(), list(gan.generator.parameters()))
    for mine, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(mine, exact, atol=1e-6, rtol=1e-3)


def test_the_labels_score_is_in_nats_with_the_entropy():
    gan = build()
    real, codes = drawn(gan)
    step = Step(gan, INFOGAN, Rates(0.0, 0.0), guided=("digit",))
    torch.manual_seed(2)
    told = step.update_discriminator(
        real, step.draw(len(real)), labels_of(gan, digit=codes["digit"])
    )
    with torch.no_grad():
        log_q = gan.posterior(gan.trunk(real))["digit"].log_prob(codes["digit"])[::2].mean()
    assert told["label/digit"].item() == pytest.approx(log_q.item() + gan.entropies["digit"], 1e-4)
    assert "label/digit" not in step.update_discriminator(real, step.draw(len(real)))


def test_an_invariant_code_learns_its_labels_from_distorted_images():
    """And its score is told of plain ones, as L_I is."""
    gan = build()
    real, codes = drawn(gan)
    labels = labels_of(gan, digit=codes["digit"])
    gone = Invariance(torch.zeros_like, codes=("digit",), share=1.0)
    step = Step(gan, Objective(invariance=gone), Rates(0.0, 0.0), guided=tuple(CODES))
    found = posterior_gradients(gan, step, real, labels)

    def score(images):
        return gan.posterior(gan.trunk(images))["digit"].log_prob(codes["digit"])[::2].mean()

    cost = -step.objective.guidance.weight * score(torch.zeros_like(real))
    truth = torch.autograd.grad(cost, list(gan.posterior.parameters()), allow_unused=True)
    # Nothing moves the heads of the other codes.
    assert [mine is None for mine in found] == [exact is None for exact in truth]
    for mine, exact in zip(found, truth, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, exact, atol=1e-6, rtol=1e-3)
    told = step.update_discriminator(real, step.draw(len(real)), labels)
    plain = score(real).item() + gan.entropies["digit"]
    assert told["label/digit"].item() == pytest.approx(plain, abs=1e-3)


def test_what_is_skipped_is_not_distorted():
    """Only the labelled real images and, for the generator, its own."""
    gan, seen = build(), []

    def distort(images):
        seen.append(images)
        return images

    real, codes = drawn(gan)
    step = Step(gan, Objective(invariance=Invariance(distort, ("digit",))), guided=("digit",))
    made = step.draw(len(real))
    step.update_discriminator(real, made, labels_of(gan, digit=codes["digit"]))
    assert len(seen) == 1
    assert seen[0].equal(real)
    step.update_discriminator(real, made)
    assert len(seen) == 1
    step.update_generator(made)
    assert seen[1].equal(made.images)


def test_a_joint_posterior_cannot_be_guided():
    gan = InfoGAN(
        {"a": dist.Uniform(-1.0, 1.0), "b": dist.Uniform(-1.0, 1.0)},
        (1, 8, 8),
        posterior={("a", "b"): families.MultivariateNormal},
    )
    with pytest.raises(DeclarationError, match="family of its own"):
        Step(gan, guided=("a",))


def halves(n, seed=0):
    """Images bright on the left (0) or on the right (1), noisy."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=generator)
    images = 0.3 * torch.rand(n, 1, 8, 8, generator=generator)
    left = torch.arange(8) < 4
    bright = torch.where(labels[:, None] == 0, left, ~left)
    return ImageSet((images + 0.6 * bright[:, None, None, :]).clamp(0, 1), labels)


@pytest.mark.parametrize("schedule", [Alternating(), Mixed(0.5)], ids=["alternating", "mixed"])
def test_few_labels_name_the_categories(schedule):
    """Category k is class k, for Q on real images and for the generator, without any matching."""
    some = halves(400)
    torch.manual_seed(0)
    gan = InfoGAN({"side": dist.Categorical(torch.ones(2))}, (1, 8, 8), noise=4)
    lines = train(
        gan,
        some,
        steps=120,
        batch_size=16,
        labels={"side": few_labels(some.labels, 40, balanced=True)},
        objective=Objective(guidance=Guidance(schedule=schedule)),
        rates=Rates(1e-3, 1e-3),
        progress=False,
    )
    held_out = halves(200, seed=1)
    found = gan.infer(held_out.images)["side"].probs.argmax(-1)
    assert (found == held_out.labels).float().mean() > 0.97
    for side in (0, 1):
        columns = gan.generate(100, {"side": side}).mean((0, 1, 2))
        assert (columns[:4].mean() > columns[4:].mean()) == (side == 0)
    assert lines[-1]["label/side"] > math.log(2) - 0.2


def bands(n, seed=0):
    """Images whose left half is dark or bright, and the right half as bright as a number says."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(2, (n,), generator=generator)
    light = 2 * torch.rand(n, generator=generator) - 1
    left = (0.2 + 0.6 * side)[:, None, None, None].expand(n, 1, 8, 4)
    right = (0.5 + 0.4 * light)[:, None, None, None].expand(n, 1, 8, 4)
    images = torch.cat([left, right], 3) + 0.05 * torch.rand(n, 1, 8, 8, generator=generator)
    return ImageSet(images.clamp(0, 1), side), light


def test_a_category_and_a_number_have_labels_at_once():
    """Each of other images, few of both; either code means what its labels say."""
    some, light = bands(400)
    torch.manual_seed(0)
    codes = {"side": dist.Categorical(torch.ones(2)), "light": dist.Uniform(-1.0, 1.0)}
    gan = InfoGAN(codes, (1, 8, 8), noise=4)
    labels = {
        "side": few_labels(some.labels, 60, balanced=True, seed=1),
        "light": few_labels(light, 60, seed=2),
    }
    lines = train(
        gan,
        some,
        steps=250,
        batch_size=16,
        labels=labels,
        objective=Objective(guidance=Guidance(schedule=Mixed(0.5))),
        rates=Rates(1e-3, 1e-3),
        progress=False,
    )
    assert {"label/side", "label/light"} <= set(lines[-1])
    held_out, truth = bands(200, seed=1)
    found = gan.infer(held_out.images)
    side, mean = found["side"].probs.argmax(-1), found["light"].mean
    assert (side == held_out.labels).float().mean() > 0.97
    assert torch.corrcoef(torch.stack([mean, truth]))[0, 1] > 0.9
    dark, bright = (gan.generate(100, {"side": side})[..., :4].mean() for side in (0, 1))
    assert dark < bright - 0.2
    low, high = (gan.generate(100, {"light": light})[..., 4:].mean() for light in (-0.9, 0.9))
    assert low < high - 0.2


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_mixed_batches_begin_with_their_share_of_labelled_images(share, monkeypatch):
    some = halves(64)
    labels = few_labels(some.labels, 8)
    seen = []

    def watched(self, real, labels=None):
        seen.append((real, labels["side"].known))
        names = ("loss_d", "loss_g", "d_real", "d_fake", "info/side")
        return dict.fromkeys(names, torch.tensor(0.5))

    monkeypatch.setattr(Step, "__call__", watched)
    gan = InfoGAN({"side": dist.Categorical(torch.ones(2))}, (1, 8, 8), noise=4)
    objective = Objective(guidance=Guidance(schedule=Mixed(share)))
    given = {"labels": {"side": labels}, "objective": objective, "progress": False}
    train(gan, some, steps=32, batch_size=8, **given)
    count = round(8 * share)
    known = some.images[labels >= 0]
    times = torch.zeros(8)
    for real, told in seen:
        assert told.tolist() == [True] * count + [False] * (8 - count)
        places = [(image == known).flatten(1).all(1).nonzero().item() for image in real[:count]]
        times[places] += 1
    # In turn: each as often as any other.
    assert times.tolist() == [32 * count / 8] * 8


def test_an_image_with_a_label_of_any_code_is_a_labelled_one(monkeypatch):
    """Sixteen of each code, one of them of both: all 31 come round before any comes again."""
    some, light = bands(64)
    labels = {"side": some.labels.clone(), "light": light.clone()}
    labels["side"][16:] = -1
    labels["light"][:15] = math.nan
    labels["light"][31:] = math.nan
    seen, told = [], set()

    def watched(self, real, labels=None):
        seen.append(real[0])
        told.update(labels)
        names = ("loss_d", "loss_g", "d_real", "d_fake", "info/side", "info/light")
        return dict.fromkeys(names, torch.tensor(0.5))

    monkeypatch.setattr(Step, "__call__", watched)
    codes = {"side": dist.Categorical(torch.ones(2)), "light": dist.Uniform(-1.0, 1.0)}
    gan = InfoGAN(codes, (1, 8, 8), noise=4)
    objective = Objective(guidance=Guidance(schedule=Mixed(0.125)))
    train(gan, some, steps=31, batch_size=8, labels=labels, objective=objective, progress=False)
    places = [(image == some.images).flatten(1).all(1).nonzero().item() for image in seen]
    assert sorted(places) == list(range(31))
    assert told == {"side", "light"}


def test_a_mixed_batch_has_the_nearest_count_to_its_share_and_at_least_one():
    # In floats 0.29 times 100 is a little less than 29.
    for share, size, count in ((0.29, 100, 29), (0.01, 16, 1), (0.5, 16, 8), (1.0, 16, 16)):
        assert Mixed(share).labelled(size, 0, 0.5) == count


def test_the_share_of_unlabelled_steps_grows_by_the_epoch():
    schedule, draws = Alternating(growth=0.1, most=0.5), [i / 1_000 for i in range(1_000)]
    for epoch, share in ((0, 0.0), (1, 0.1), (3, 0.3), (5, 0.5), (9, 0.5)):
        unlabelled = sum(schedule.labelled(16, epoch, draw) == 0 for draw in draws)
        assert unlabelled == pytest.approx(1_000 * share, abs=1)


def test_alternating_steps_are_wholly_labelled_or_not(monkeypatch):
    """The share of labelled steps falls by a tenth an epoch."""
    some = halves(64)
    labels = few_labels(some.labels, 8)
    seen = []

    def watched(self, real, labels=None):
        seen.append((real, labels))
        names = ("loss_d", "loss_g", "d_real", "d_fake", "info/side")
        return dict.fromkeys(names, torch.tensor(0.5))

    monkeypatch.setattr(Step, "__call__", watched)
    gan = InfoGAN({"side": dist.Categorical(torch.ones(2))}, (1, 8, 8), noise=4)
    epochs = 300
    train(
        gan,
        some,
        steps=8 * epochs,
        batch_size=8,
        labels={"side": labels},
        objective=Objective(guidance=Guidance(schedule=Alternating(growth=0.1, most=0.5))),
        progress=False,
    )
    known = some.images[labels >= 0]
    for real, told in seen:
        inside = torch.stack([(image == known).flatten(1).all(1).any() for image in real])
        assert inside.all() if told else not inside.all()
        assert not told or told["side"].known.all()
    given = torch.tensor([bool(told) for _, told in seen]).view(epochs, 8).float().mean(1)
    assert given[0] == 1.0
    later = given[5:].mean().item()
    assert abs(later - 0.5) <= 4 * math.sqrt(0.25 / (8 * (epochs - 5)))
    # All labelled images come round.
    assert len({tuple(real[0].flatten().tolist()) for real, told in seen if told}) == 8


def test_a_run_with_labels_resumes_as_if_it_had_not_stopped(tmp_path):
    some = halves(64)
    given = {"labels": {"side": few_labels(some.labels, 8)}, "batch_size": 8, "progress": False}

    def fresh():
        torch.manual_seed(0)
        return InfoGAN({"side": dist.Categorical(torch.ones(2))}, (1, 8, 8), noise=4)

    whole, part, again = fresh(), fresh(), fresh()
    lines = train(whole, some, steps=33, **given)
    train(part, some, steps=15, out=tmp_path, save_every=5, **given)
    resumed = train(again, some, steps=33, out=tmp_path, resume=True, save_every=5, **given)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert [{**line, "images_per_s": 0} for line in lines] == [
        {**line, "images_per_s": 0} for line in resumed
    ]


@pytest.mark.parametrize(
    ("code", "labels", "said"),
    [
        ("digit", torch.zeros(3, dtype=torch.int64), r"shape \(3,\)"),
        ("digit", torch.zeros(N, 2, dtype=torch.int64), "shape"),
        ("digit", torch.full((N,), 3), "got 3"),
        ("digit", torch.full((N,), -2), "got -2"),
        ("digit", torch.zeros(N), "whole numbers"),
        ("digit", [0] * N, "list"),
        ("digit", torch.zeros(N, dtype=torch.bool), "torch.bool"),
        ("digit", torch.full((N,), -1), "at least one"),
        ("slant", torch.full((N,), math.nan), "at least one"),
        ("slant", torch.full((N,), 1.5), "got 1.5"),
        ("slant", torch.ones(N, dtype=torch.int64), r"floats, NaN.*labels == -1, torch\.nan"),
        ("kind", torch.full((N,), 2), "got 2"),
        ("style", torch.zeros(N), "shape"),
        ("style", torch.full((N, 2), math.inf), "got .inf, inf"),
    ],
)
def test_bad_labels_are_refused(code, labels, said):
    with pytest.raises(DataError, match=said) as error:
        checked_labels(build().prior, {code: labels}, N)
    assert code in str(error.value)


def test_checking_labels_draws_nothing_from_the_caller():
    gan, before = build(), torch.get_rng_state()
    checked_labels(gan.prior, {"digit": torch.zeros(N, dtype=torch.int64)}, N)
    assert torch.get_rng_state().equal(before)


def test_labels_of_what_is_no_code_are_refused():
    with pytest.raises(DeclarationError, match="digti"):
        checked_labels(build().prior, {"digti": torch.zeros(N)}, N)


def test_labels_say_which_code_they_are_of():
    with pytest.raises(DataError, match=r"got Tensor.*labels=\{'digit'"):
        train(build(), torch.rand(8, 1, 8, 8), labels=torch.zeros(8, dtype=torch.int64))


def test_several_one_hot_values_take_no_single_class():
    prior = CodePrior({"kinds": dist.OneHotCategorical(torch.ones(2, 3)).to_event(1)})
    with pytest.raises(DataError, match=r"shape \(4,\)"):
        checked_labels(prior, {"kinds": torch.zeros(4, dtype=torch.int64)}, 4)


def test_a_bound_of_the_support_is_a_label_in_any_precision():
    prior = CodePrior({"c": dist.Uniform(-0.7, 0.7)})
    ends = torch.tensor([-0.7, 0.7], dtype=torch.float64)
    assert checked_labels(prior, {"c": ends}, 2)["c"].known.all()


def test_labels_become_values_of_their_codes():
    prior = build().prior
    given = {
        "digit": torch.tensor([2, -1, 0] + [1] * 13),
        "slant": torch.tensor([0.5, math.nan, -1.0] + [0.0] * 13),
        "kind": torch.tensor([1, -1, 0] + [1] * 13, dtype=torch.uint8).to(torch.int8),
        "style": torch.tensor([[0.1, 0.2], [math.nan, 0.0], [0.3, 0.4]] + [[0.0, 0.0]] * 13),
        "bold": torch.tensor([1, -1, 0] + [1] * 13),
    }
    found = checked_labels(prior, given, N)
    for name, value in prior.draw(N).items():
        assert found[name].values.dtype == value.dtype
        assert found[name].values.shape == value.shape
        assert found[name].known.tolist() == [True, False] + [True] * 14
    assert found["kind"].values[[0, 2]].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert found["digit"].values[[0, 2]].tolist() == [2, 0]


def test_a_vector_with_some_of_its_labels_has_none():
    prior = CodePrior({"marks": dist.Bernoulli(0.5).expand([2]).to_event(1)})
    marks = torch.tensor([[1, -1], [0, 1], [-1, 0], [-1, -1], [1, 0]])
    found = checked_labels(prior, {"marks": marks}, 5)["marks"]
    assert found.known.tolist() == [False, True, False, False, True]
    assert found.values[found.known].tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_few_labels_are_as_many_as_asked_for():
    labels = torch.arange(100) % 4
    for balanced in (False, True):
        kept = few_labels(labels, 22, balanced=balanced, seed=1)
        known = kept >= 0
        assert known.sum() == 22
        assert kept[known].equal(labels[known])
        assert kept.equal(few_labels(labels, 22, balanced=balanced, seed=1))
        assert not kept.equal(few_labels(labels, 22, balanced=balanced, seed=2))
        if balanced:
            assert sorted(kept[known].bincount().tolist()) == [5, 5, 6, 6]
    # Which classes have one more is drawn, too.
    draws = [few_labels(labels, 5, balanced=True, seed=seed) for seed in range(20)]
    assert {kept[kept >= 0].mode().values.item() for kept in draws} == {0, 1, 2, 3}
    numbers = few_labels(torch.linspace(0, 1, 10), 3)
    assert numbers.isnan().sum() == 7
    assert few_labels(torch.tensor([-1, 5, -1]), 1).tolist() == [-1, 5, -1]


@pytest.mark.parametrize(
    ("labels", "n", "balanced"),
    [
        (torch.arange(4), 5, False),
        (torch.tensor([-1, 1]), 2, False),
        (torch.tensor([0, 0, 0, 1]), 4, True),
        (torch.arange(4), 5, True),
        (torch.linspace(0, 1, 4), 2, True),
        (torch.arange(4), 0, False),
    ],
)
def test_labels_that_are_not_there(labels, n, balanced):
    with pytest.raises(DataError):
        few_labels(labels, n, balanced=balanced)


def test_bad_guidance_is_refused():
    with pytest.raises(DeclarationError, match="weight"):
        Guidance(weight=-1.0)
    with pytest.raises(DeclarationError, match="share"):
        Mixed(0.0)
    with pytest.raises(DeclarationError, match="no step would have labels"):
        Alternating(most=1.0)
    with pytest.raises(DeclarationError, match="with its brackets"):
        Guidance(schedule=Mixed)


def test_a_schedule_with_more_labels_than_images_is_refused():
    class Eager:
        def labelled(self, batch_size, epoch, draw):
            return batch_size + 1

    some = halves(64)
    with pytest.raises(DeclarationError, match=r"Eager.labelled: got 9, expected .* 0 to 8"):
        train(
            InfoGAN({"digit": dist.Categorical(torch.ones(2))}, (1, 8, 8), noise=2),
            some,
            2,
            batch_size=8,
            labels={"digit": few_labels(some.labels, 8)},
            objective=Objective(guidance=Guidance(schedule=Eager())),
            device="cpu",
            progress=False,
        )


def test_the_command_line_guides_what_the_experiment_says(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch, pyro.distributions as dist\n"
        "from pyro_infogan import Experiment, datasets\n"
        "def data(train=True):\n"
        "    return datasets.ImageSet(torch.rand(40, 1, 8, 8), torch.arange(40) % 2)\n"
        "guided = Experiment(codes={'side': dist.Categorical(torch.ones(2))},\n"
        "    image_shape=(1, 8, 8), data=data, noise=4, steps=2, batch_size=8,\n"
        "    labels={'side': lambda dataset: dataset.labels})\n"
        "broken = Experiment(codes=guided.codes, image_shape=(1, 8, 8), data=data, steps=2,\n"
        "    labels={'side': lambda dataset: dataset.nothing})\n"
        "listed = Experiment(codes=guided.codes, image_shape=(1, 8, 8), data=data, steps=2,\n"
        "    labels={'side': lambda dataset: dataset.labels.tolist()})\n"
        "plain = Experiment(codes=guided.codes, image_shape=(1, 8, 8), data=data, steps=2)\n"
    )
    out = tmp_path / "run"
    main(["train", f"{file}:guided", "--labelled", "10", "--balanced", "--out", str(out)])
    assert "label/side" in (out / "metrics.jsonl").read_text()
    assert '"labels"' in (out / "run.json").read_text()
    for arguments, said in (
        ([f"{file}:plain", "--labelled", "10"], "no labels"),
        ([f"{file}:guided", "--balanced"], "--labelled"),
        ([f"{file}:guided", "--labelled", "41"], "at most 40"),
        ([f"{file}:guided", "--labelled", "10", "--plain-gan"], "feels no code"),
        ([f"{file}:broken", "--labelled", "10"], "labels of code 'side': got AttributeError"),
        ([f"{file}:listed", "--labelled", "10"], "labels of code 'side': got TypeError: a list"),
    ):
        with pytest.raises(SystemExit):
            main(["train", *arguments, "--out", str(tmp_path / "other")])
        assert said in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
