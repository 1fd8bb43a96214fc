"""Codes of real images by the generator itself, beyond the amortised Q.

Q is fitted to generated images. Where an image is unlike them, or its codes matter, the generative
program decides: :meth:`~pyro_infogan.InfoGAN.observed` says how likely an image is under noise and
codes, and Pyro's inference finds those that explain it. :func:`importance` weighs draws of Q;
:func:`refine` fits a posterior to each image, by stochastic variational inference that starts at Q.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.distributions.constraints import softplus_positive
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.importance import vectorized_importance_weights
from pyro.optim import ClippedAdam
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import get_plates
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints, transforms

from .codes import (
    NOISE,
    PLATE,
    CodePrior,
    base_support,
    bounds,
    element_of,
    form_of,
    is_angle,
    is_direction,
    reach,
    sample,
    support,
    unit,
)
from .errors import DataError, checked_count
from .images import checked_images, scaled
from .inference import sample_codes
from .infogan import BATCH, InfoGAN, checked_scale
from .modes import evaluating, frozen

__all__ = ["Refined", "Weighted", "importance", "refine"]

_Instead = Callable[[str, Distribution], Distribution]
"""From a site's name and its conditional to what it is drawn from instead."""

# Codes do not begin with an underscore, so that none has this name.
_CANDIDATES = "_candidates"
# Draws of Q that tell the mean of a code, and how frequent a category is where Q does not say.
_TRIED = 256
# A start inside an interval keeps this share of its width from either end.
_MARGIN = 0.02
# Standard deviation of a fit at its start, in units of the unconstrained line.
_NARROW = 0.1
# What Adam's learning rate falls to.
_LAST_RATE = 0.1


@dataclass(frozen=True)
class Weighted:
    """Draws of Q for n images, and how well each explains its image.

    Attributes:
        codes: each code, (draws, n, event shape), from Q.
        noise: (draws, n, noise), from its prior.
        log_weights: log p(x | z, c) + log p(c) − log q(c | x) in nats, (draws, n).
        posterior: each code under the weights, (n, ...): the probabilities of a categorical code
            (n, event shape, categories), the mean of any other, around the circle for an angle, on
            the sphere for a direction.
    """

    codes: dict[str, Tensor]
    noise: Tensor
    log_weights: Tensor
    posterior: dict[str, Tensor]

    @property
    def weights(self) -> Tensor:
        """Weights (draws, n) that sum to 1 for each image."""
        return self.log_weights.softmax(0)

    @property
    def log_evidence(self) -> Tensor:
        """Estimate of log p(x) in nats, (n,)."""
        return _log_mean_exp(self.log_weights)

    @property
    def effective(self) -> Tensor:
        """Effective sample size 1 / Σ w² (n,), from 1 to the number of draws.

        Near 1 a single draw carries the posterior, which is then no more than the best of them.
        """
        return (1 / self.weights.square().sum(0)).clamp(1, len(self.log_weights))


@dataclass(frozen=True)
class Refined:
    """What was fitted to n images.

    Attributes:
        codes: the likeliest discrete codes, and the medians of the continuous ones fitted with
            them, (n, event shape).
        noise: median of the noise fitted with them, (n, noise).
        images: their reconstructions G(z, c), (n, C, H, W).
        candidates: the discrete codes that were tried, (candidates, n, event shape).
        log_evidence: estimate of log p(x, candidate) in nats, (candidates, n).
        posterior: each discrete code among the candidates, (n, ...): the probabilities of a
            categorical code, the mean of any other.
        losses: the negative ELBO of each step, in nats, mean of all fits.
    """

    codes: dict[str, Tensor]
    noise: Tensor
    images: Tensor
    candidates: dict[str, Tensor]
    log_evidence: Tensor
    posterior: dict[str, Tensor]
    losses: Tensor


@torch.no_grad()
def importance(gan: InfoGAN, images: Tensor, scale: float, draws: int = 1_000) -> Weighted:
    """Weigh draws of Q by how well they explain the images: Pyro's importance sampling.

    Codes are drawn from Q and noise from its prior. A draw outside the prior's support has weight
    0. Where much of an image is noise, its prior proposes poorly: look at ``effective`` before the
    posterior, and use :func:`refine` where it is near 1.

    Args:
        gan: a trained InfoGAN.
        images: (n, C, H, W), uint8 or floats in [0, 1].
        scale: standard deviation of a pixel about the generated one.
        draws: how many for each image.

    Raises:
        DataError: for a scale that is not a positive number, no draws, images of another shape,
            type or range, or an image with no draw inside the prior's support.

    Example:
        >>> gan = InfoGAN({"digit": dist.Categorical(torch.ones(3))}, image_shape=(1, 8, 8))
        >>> found = importance(gan, gan.generate(2), scale=0.1, draws=50)
        >>> found.posterior["digit"].shape, bool((found.effective >= 1).all())
        (torch.Size([2, 3]), True)
    """
    checked_count("draws", draws, least=1)
    model = gan.observed(checked_scale(scale))
    parts = []
    # As many images at once as memory is meant for, or one, in turns.
    for part in _checked(gan, images).split(max(1, BATCH // draws)):
        parts.append(_weighed(model, _proposal(gan, part), part, draws, (len(part),)))
    log_weights = torch.cat([log_weights for _, log_weights in parts], 1)
    values = {name: torch.cat([drawn[name] for drawn, _ in parts], 1) for name in parts[0][0]}
    lost = (~(log_weights > -math.inf).any(0)).nonzero().flatten().tolist()
    if lost:
        raise DataError(
            f"{draws} draws of Q",
            got=f"none inside the prior's support for images {lost[:8]}",
            expected="one or more for each image",
            fix="Draw more, or give the code a posterior family inside its support.",
        )
    codes = {name: values[name] for name in gan.prior.sites}
    posterior = _summary(gan.prior, codes, log_weights.softmax(0))
    return Weighted(codes, values[NOISE], log_weights, posterior)


def refine(
    gan: InfoGAN,
    images: Tensor,
    scale: float,
    steps: int = 300,
    *,
    candidates: int = 10,
    rate: float = 0.1,
    draws: int = 20,
) -> Refined:
    """Fit noise and codes to each image by Pyro's stochastic variational inference, from Q on.

    The discrete codes are fixed at each of their likeliest values under Q: all of them, where there
    are no more than ``candidates``. Beside each, a normal over noise and continuous codes, brought
    to their supports, is fitted. Importance sampling from the fits then gives log p(x, candidate),
    and with it the probability of every candidate.

    Nothing of the InfoGAN changes, nor does Pyro's parameter store.

    Args:
        gan: a trained InfoGAN.
        images: (n, C, H, W), uint8 or floats in [0, 1].
        scale: standard deviation of a pixel about the generated one. Where it is less than what the
            generator is off by, probabilities are too sure of themselves.
        steps: updates of every fit.
        candidates: how many values of the discrete codes, together, are tried for each image.
        rate: Adam's learning rate at first; it falls to a tenth.
        draws: from each fit, for its log p(x, candidate).

    Raises:
        DataError: for a scale or rate that is not a positive number, a count that is not a positive
            whole one, images of another shape, type or range, or a continuous code whose support
            no bijection reaches, such as positive definite matrices.

    Example:
        >>> gan = InfoGAN({"digit": dist.Categorical(torch.ones(3))}, image_shape=(1, 8, 8))
        >>> found = refine(gan, gan.generate(2), scale=0.1, steps=5)
        >>> found.images.shape, found.posterior["digit"].shape
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 3]))
    """
    for what, count in (("steps", steps), ("candidates", candidates), ("draws", draws)):
        checked_count(what, count, least=1)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise DataError(
            "rate", got=repr(rate), expected="a positive number", fix="Leave it out for 0.1."
        )
    model = gan.observed(checked_scale(scale))
    _check_reached(gan.prior)
    fits = []
    for part in _checked(gan, images).split(max(1, BATCH // candidates)):
        fit = _Fit(gan, model, part, candidates)
        # A store of its own; afterwards Pyro's is as it was.
        with pyro.get_param_store().scope():
            losses = fit.run(steps, rate)
            with torch.no_grad():
                _, log_weights = _weighed(fit.model, fit.guide, part, draws, fit.plates)
                fits.append((fit.medians(), _log_mean_exp(log_weights), losses))
    values = {name: torch.cat([medians[name] for medians, _, _ in fits], 1) for name in fits[0][0]}
    log_evidence = torch.cat([evidence for _, evidence, _ in fits], 1)
    best, each = log_evidence.argmax(0), torch.arange(log_evidence.shape[1], device=gan.device)
    chosen = {name: value[best, each] for name, value in values.items()}
    noise = chosen.pop(NOISE)
    tried = {name: values[name] for name in gan.prior.sites if gan.prior.is_discrete(name)}
    return Refined(
        codes={name: chosen[name] for name in gan.prior.sites},
        noise=noise,
        images=gan.generate(len(each), chosen, noise),
        candidates=tried,
        log_evidence=log_evidence,
        posterior=_summary(gan.prior, tried, log_evidence.softmax(0)),
        losses=torch.stack([losses for _, _, losses in fits]).sum(0) / log_evidence.numel(),
    )


def _checked(gan: InfoGAN, images: Tensor) -> Tensor:
    return scaled(checked_images(images, gan.image_shape)).to(gan.device)


def _check_reached(prior: CodePrior) -> None:
    """Refuse a continuous code whose support is not the image of the unconstrained line.

    Raises:
        DataError: for one.
    """
    for name, site in prior.sites.items():
        try:
            if not prior.is_discrete(name) and not is_direction(site):
                biject_to(support(site))
        except NotImplementedError:
            raise DataError(
                f"code {name!r}",
                got=f"support {support(site)}, which no bijection of torch or Pyro reaches",
                expected="one that a normal can be brought to",
                fix="Weigh draws of Q instead: inversion.importance.",
            ) from None


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(0) - math.log(len(values))


def _summary(prior: CodePrior, codes: Mapping[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    """What codes (draws, n, event shape) are under weights (draws, n), as ``posterior`` tells."""
    found = {}
    for name, values in codes.items():
        site = prior.sites[name]
        if isinstance(form_of(site), dist.Categorical):
            last = cast(Any, base_support(site)).upper_bound
            values = F.one_hot(values.long(), int(last) + 1)
        found[name] = _mean(site, values, weights)
    return found


def _mean(prior: Distribution, values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean (n, ...) of values (draws, n, ...), on the circle or sphere they are on."""
    share = weights.reshape(*weights.shape, *[1] * (values.dim() - 2))
    if is_angle(prior):
        return torch.atan2((share * values.sin()).sum(0), (share * values.cos()).sum(0))
    mean = (share * values).sum(0)
    return F.normalize(mean, dim=-1) if is_direction(prior) else mean


def _proposal(gan: InfoGAN, images: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
    """A guide that draws codes from Q and noise from its prior, in any plates around it."""
    # The trunk looks once at each image, for all of its draws.
    with torch.no_grad(), evaluating(gan):
        features = gan.trunk(images.to(gan.dtype))

    def guide(images: Tensor) -> dict[str, Tensor]:
        with pyro.plate(PLATE, len(images)):
            noise = sample(NOISE, gan.noise_prior())
            with torch.no_grad(), evaluating(gan):
                posteriors = gan.posterior(features.expand(*noise.shape[:-2], *features.shape))
            return {NOISE: noise, **sample_codes(gan.prior, posteriors)}

    return guide


def _weighed(
    model: Callable, guide: Callable, images: Tensor, draws: int, plates: tuple[int, ...]
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of a guide by site, (draws, *plates, event shape), and their log weights.

    Args:
        model: the program of ``images``.
        guide: what proposes.
        images: (n, C, H, W).
        draws: how many.
        plates: sizes of the programs' own plates.
    """
    at_once = max(1, BATCH // math.prod(plates))
    values: list[dict[str, Tensor]] = []
    log_weights: list[Tensor] = []
    for start in range(0, draws, at_once):
        # Pyro's validation would refuse a draw outside the prior's support, whose weight is 0, and
        # where its density is no number Pyro would warn of their sum, which is not asked for.
        with dist.validation_enabled(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encountered NaN: log_prob_sum")
            _, model_trace, guide_trace = vectorized_importance_weights(
                _GoingOn()(model),
                guide,
                images,
                num_samples=min(at_once, draws - start),
                max_plate_nesting=len(plates),
            )
        explained, proposed = map(_samples, (model_trace, guide_trace))
        # Pyro's own sums of these are over the images too.
        inside = torch.stack([_inside_support(site) for site in explained.values()]).all(0)
        log_weight = torch.where(inside, _total(explained) - _total(proposed), -math.inf)
        log_weights.append(log_weight)
        values.append({name: site["value"] for name, site in proposed.items()})
    drawn = {name: torch.cat([part[name] for part in values]) for name in values[0]}
    return drawn, torch.cat(log_weights)


def _samples(trace: Any) -> dict[str, dict[str, Any]]:
    return {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}


def _total(sites: dict[str, dict[str, Any]]) -> Tensor:
    return torch.stack([site["log_prob"] for site in sites.values()]).sum(0)


def _inside_support(site: dict[str, Any]) -> Tensor:
    """Where a site's value lies in its support, as far as that can be told.

    Elsewhere some densities are any number, and those of the codes that depend on it none.
    """
    prior = site["fn"]
    covered = support(prior)
    if site["is_observed"] or constraints.is_dependent(covered):
        return torch.ones(prior.batch_shape, dtype=torch.bool, device=site["value"].device)
    return covered.check(site["value"])


class _GoingOn(Messenger):
    """Lets a program go on where values that it is given lie outside their supports.

    Given such a value another code may have no distribution at all: the program goes on from a draw
    of its own in its place. A trace around it keeps the value.
    """

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        inside = _inside_support(msg)
        if not inside.all():
            value, prior = msg["value"], msg["fn"]
            inside = inside.reshape(*inside.shape, *[1] * len(prior.event_shape))
            msg["value"] = torch.where(inside, value, prior.sample())


class _Replaced(Messenger):
    """Draws the codes of a program from other distributions than its own.

    Args:
        instead: what takes the place of a code's conditional, given its name and that.
    """

    def __init__(self, instead: _Instead) -> None:
        super().__init__()
        self.instead = instead

    def _pyro_sample(self, msg: Any) -> None:
        if not site_is_subsample(msg):
            msg["fn"] = self.instead(msg["name"], msg["fn"])


class _Fit:
    """What is fitted to some images: beside each candidate, a normal over all that is continuous.

    Attributes:
        plates: how many candidates, and how many images.
        held: the candidates' discrete codes, (candidates, n, event shape).
    """

    def __init__(self, gan: InfoGAN, model: Callable, images: Tensor, candidates: int) -> None:
        self.images = images
        proposal = _proposal(gan, images)
        with torch.no_grad(), pyro.plate("_draws", _TRIED, dim=-2):
            drawn = proposal(images)
        self.held = _candidates(gan, images, drawn, candidates)
        count = len(next(iter(self.held.values()))) if self.held else 1
        self.plates = (count, len(images))
        self._observed = model
        self._prior, self._noise_prior = frozen(gan.prior), gan.noise_prior()
        # Continuous codes start at Q's mean, and noise in its middle.
        evenly = images.new_full((_TRIED, len(images)), 1 / _TRIED)
        starts = {
            name: _mean(prior, drawn[name], evenly).expand(count, *drawn[name].shape[1:])
            for name, prior in gan.prior.sites.items()
            if name not in self.held
        }
        starts[NOISE] = torch.zeros_like(self._noise_prior.expand(self.plates).mean)
        self._lines: dict[str, _Line | _Sphere] = {}

        def begin(name: str, prior: Distribution) -> Distribution:
            kind = _Sphere if is_direction(prior) else _Line
            self._lines[name] = kind(prior, starts[name])
            return self._lines[name].middle(prior, self._lines[name].start)

        with torch.no_grad():
            self._sampled(begin)

    @contextmanager
    def _plates(self) -> Iterator[None]:
        candidates, n = self.plates
        with pyro.plate(_CANDIDATES, candidates, dim=-2), pyro.plate(PLATE, n, dim=-1):
            yield

    def _holding(self) -> ConditionMessenger:
        """Inside, discrete codes are the candidates', one for each of the plates around the call.

        A program may stack them with codes that are drawn in all of these plates.
        """
        around = {frame.dim: frame.size for frame in get_plates() if frame.dim is not None}
        batch = [around.get(dim, 1) for dim in range(min(around, default=-2), -2)]
        held = {
            name: value.expand(*batch, *self.plates, *value.shape[2:])
            for name, value in self.held.items()
        }
        return ConditionMessenger(held)

    def _sampled(self, instead: _Instead) -> dict[str, Tensor]:
        """Noise and all codes, where the continuous ones are drawn from other distributions.

        The program of the prior is run for it: where a code may lie can follow from those before.
        """
        holding = self._holding()
        with self._plates():
            noise = sample(NOISE, instead(NOISE, self._noise_prior))
            with _Replaced(instead), poutine.block(hide=list(self.held)), holding:
                return {NOISE: noise, **self._prior()}

    def model(self, images: Tensor) -> None:
        """The images, observed once for each candidate."""
        with self._holding(), pyro.plate(_CANDIDATES, self.plates[0], dim=-2):
            self._observed(images)

    def guide(self, images: Tensor) -> None:
        """Noise and continuous codes, from the fits as they are."""
        del images
        # Asked of Pyro's store here, since a program of codes has no parameters of the store.
        normals = {name: line.normal(name) for name, line in self._lines.items()}
        self._sampled(lambda name, prior: self._lines[name].fitted(prior, normals[name]))

    def run(self, steps: int, rate: float) -> Tensor:
        """Update every fit; gives the negative ELBO of each step, summed over fits, (steps,)."""
        settings = {"lr": rate, "lrd": _LAST_RATE ** (1 / steps), "clip_norm": math.inf}
        svi = SVI(self.model, self.guide, ClippedAdam(settings), Trace_ELBO())
        return torch.tensor([svi.step(self.images) for _ in range(steps)])

    def medians(self) -> dict[str, Tensor]:
        """Discrete codes, and the medians of all else, (candidates, n, event shape)."""
        middles = {name: line.normal(name).mean for name, line in self._lines.items()}
        return self._sampled(lambda name, prior: self._lines[name].middle(prior, middles[name]))


class _Line:
    """A continuous site seen on the unconstrained line, and a normal there.

    Args:
        prior: the site's distribution, given the starts of what it depends on.
        start: where the normal begins, (candidates, n, event shape), if that is in the support.

    Attributes:
        start: the same on the line.
    """

    start: Tensor

    def __init__(self, prior: Distribution, start: Tensor) -> None:
        self._angle = is_angle(prior)
        self._fixed: Any = None
        if self._angle:
            # One turn, cut opposite the start: an angle's density repeats itself on the line, and
            # would be counted once a turn.
            self._fixed = biject_to(constraints.interval(start - math.pi, start + math.pi))
        elif isinstance(base_support(prior), type(constraints.real)):
            # In the prior's units, so that one learning rate serves all codes.
            centre, scale = (each.to(start.device) for each in unit(prior))
            self._fixed = transforms.AffineTransform(centre, scale)
        else:
            start = _inside(prior, start)
        self.start = self._to_support(prior).inv(start)

    def _to_support(self, prior: Distribution) -> Any:
        """From the line to where the site may lie, given what it depends on."""
        return biject_to(reach(prior)) if self._fixed is None else self._fixed

    def normal(self, name: str) -> Distribution:
        """The normal on the line, as it is in Pyro's store."""
        spread = torch.full_like(self.start, _NARROW)
        return dist.Normal(
            _parameter(f"{name}.loc", self.start),
            _parameter(f"{name}.scale", spread, constraint=softplus_positive),
        ).to_event(self.start.dim() - 2)

    def fitted(self, prior: Distribution, normal: Distribution) -> Distribution:
        """The normal brought to the support that ``prior`` has."""
        # The transform remembers where a draw came from, which the way back may round.
        to_support = self._to_support(prior).with_cache()
        return dist.TransformedDistribution(cast(Any, normal), [to_support])

    def middle(self, prior: Distribution, place: Tensor) -> Distribution:
        """A place on the line, brought to the support that ``prior`` has, as all of its draws."""
        value = self._to_support(prior)(place)
        if self._angle:
            value = torch.remainder(value + math.pi, 2 * math.pi) - math.pi
        return dist.Delta(value, event_dim=len(prior.event_shape))


class _Sphere:
    """A direction, fitted where it is: no bijection from a line reaches all of a sphere.

    Args:
        prior: the site's distribution.
        start: where the fit begins, (candidates, n, event shape).
    """

    def __init__(self, prior: Distribution, start: Tensor) -> None:
        del prior
        self.start = start

    def normal(self, name: str) -> Distribution:
        """A projected normal, as it is in Pyro's store."""
        # Apart, so that the direction turns as fast whatever its spread.
        way = F.normalize(_parameter(f"{name}.loc", self.start), dim=-1)
        spread = torch.full_like(self.start[..., :1], _NARROW)
        spread = _parameter(f"{name}.scale", spread, constraint=softplus_positive)
        return dist.ProjectedNormal(way / spread).to_event(self.start.dim() - 3)

    def fitted(self, prior: Distribution, normal: Distribution) -> Distribution:
        """The projected normal itself."""
        del prior
        return normal

    def middle(self, prior: Distribution, place: Tensor) -> Distribution:
        """A direction, as all of its draws."""
        return dist.Delta(place, event_dim=len(prior.event_shape))


def _inside(prior: Distribution, start: Tensor) -> Tensor:
    """Starts in the support of a prior, (candidates, n, event shape), and not at its very end.

    Q may say what the prior does not allow. Only the elements of a code that lie outside move,
    except where they bound each other, as shares do.
    """
    base: Any = reach(prior)
    if isinstance(base, constraints.interval):
        low, high = bounds(base)
        margin = _MARGIN * (high - low)
        return start.clamp(low + margin, high - margin)
    if isinstance(base, type(constraints.simplex)):
        shares = start.clamp(_MARGIN / start.shape[-1], 1)
        return shares / shares.sum(-1, keepdim=True)
    to_base: Any = biject_to(base)

    def reached(inside: Tensor) -> Tensor:
        finite, axes = to_base.inv(inside).isfinite(), to_base.domain.event_dim
        return finite.flatten(-axes).all(-1) if axes else finite

    # In this order: the way back of a matrix that is none of the support is an error.
    for check in (base.check, reached):
        good = check(start)
        if not good.all():
            good = good.reshape(*good.shape, *[1] * base.event_dim)
            start = torch.where(good, start, _nearest(prior, start, base.event_dim))
    return start


def _nearest(prior: Distribution, start: Tensor, axes: int) -> Tensor:
    """The nearest of some draws of a prior to each element of a start, which has ``axes`` axes."""
    # Of so many draws, those nearest to the end of a half line are about a margin's share from it.
    draws = cast(Any, prior).expand(start.shape[:2]).sample((round(1 / _MARGIN),))
    apart = (draws - start).square()
    if axes:
        apart = apart.sum(tuple(range(-axes, 0)), keepdim=True)
    return draws.take_along_dim(apart.argmin(0, keepdim=True), 0).squeeze(0)


def _parameter(name: str, start: Tensor, **settings: Any) -> Tensor:
    """``pyro.param``, typed."""
    return cast(Tensor, pyro.param(name, start, **settings))


def _candidates(
    gan: InfoGAN, images: Tensor, drawn: Mapping[str, Tensor], most: int
) -> dict[str, Tensor]:
    """The likeliest discrete codes together under Q, (candidates, n, event shape); none, if none.

    Args:
        gan: the InfoGAN.
        images: (n, C, H, W).
        drawn: draws of Q, (draws, n, event shape).
        most: how many candidates, at most.
    """
    posteriors = gan.infer(images)
    discrete = [name for name in gan.prior.sites if gan.prior.is_discrete(name)]
    values = {name: _values(gan.prior.sites[name], drawn[name]) for name in discrete}
    # Element by element of every code, the best combinations so far: a beam.
    score = drawn[NOISE].new_zeros(len(images), 1)
    picked = score.new_zeros(len(images), 1, 0, dtype=torch.int64)
    for name in discrete:
        each = _log_shares(posteriors.get(name), gan.prior.sites[name], values[name], drawn[name])
        for log_q in each.reshape(len(images), -1, each.shape[-1]).unbind(1):
            total = (score.unsqueeze(-1) + log_q.unsqueeze(1)).flatten(1)
            score, found = total.topk(min(most, total.shape[1]), 1)
            parent = torch.div(found, log_q.shape[-1], rounding_mode="floor")
            before = picked.gather(1, parent.unsqueeze(-1).expand(*parent.shape, picked.shape[-1]))
            picked = torch.cat([before, (found % log_q.shape[-1]).unsqueeze(-1)], -1)
    candidates = {}
    for name in discrete:
        vector = drawn[name].shape[2 : drawn[name].dim() - values[name].dim() + 1]
        now, picked = picked.split([math.prod(vector), picked.shape[-1] - math.prod(vector)], -1)
        chosen = values[name][now].transpose(0, 1)
        candidates[name] = chosen.reshape(*chosen.shape[:2], *drawn[name].shape[2:])
    return candidates


def _values(prior: Distribution, drawn: Tensor) -> Tensor:
    """The values of one element of a discrete code, (values, event shape of the element)."""
    element = element_of(prior)
    if not element.has_enumerate_support:
        # Whole draws of an element: its numbers may bound each other, as counts of a sum do.
        return drawn.reshape(-1, *element.event_shape).unique(dim=0)
    return element.enumerate_support(expand=False).reshape(-1, *element.event_shape)


def _log_shares(
    posterior: Distribution | None, prior: Distribution, values: Tensor, drawn: Tensor
) -> Tensor:
    """Log q of each value of each element of a code, (n, *vector, values).

    Where Q has no distribution of the element by itself, it is how often the value was drawn.
    """
    event = values.dim() - 1
    vector = drawn.dim() - 2 - event
    element = element_of(posterior)
    if posterior is not None and len(element.batch_shape) == 1 + vector:
        shaped = values.reshape(len(values), *[1] * (1 + vector), *values.shape[1:])
        return element.log_prob(shaped).movedim(0, -1)
    # Value by value, since there may be as many as draws.
    often = []
    for value in values:
        same = drawn == value
        often.append((same.flatten(-event).all(-1) if event else same).sum(0))
    return (torch.stack(often, -1) + 1.0).log()
