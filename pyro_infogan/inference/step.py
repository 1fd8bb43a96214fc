r"""The step: who is updated by what.

.. math:: \min_{G, Q} \max_D V(D, G) - \sum_c \lambda_c L_I^c(G, Q)

(Chen et al. 2016, equation 6.) One step updates the two players in turn, then
the prior, if it learns:

============== ============================== ====================================================
player         its parameters                 what moves them
============== ============================== ====================================================
discriminator  trunk, discriminator head      V on real and generated images
..             trunk, posterior               L_I on generated images; of codes with labels, their
..                                            score on labelled real images in its place
generator      generator                      the non-saturating loss, and L_I
prior          a prior that learns            what its :class:`PriorTerms` say
============== ============================== ====================================================

Both players meet the same generated images: those that the discriminator has just learnt from are
the ones that the generator is then judged by, as in DCGAN's code, which spares one of its two
passes. The discriminator and Q have taken one step on these very images, which the generator's
gradient does not feel where it draws images of its own (``Objective(redraw=True)``).

Whatever images an update asks the trunk about pass it at once where it can tell batches apart
(:class:`~pyro_infogan.models.networks.Trunk`): batch norm takes the statistics of each by itself.

Each backward pass names the parameters it is for, and what the generator is judged by is computed
without gradients for the discriminator's: none of another player's weights is formed.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import pyro
import torch
from torch import Tensor, nn

from ..codes import CodePrior, Key, label, names_of
from ..errors import DeclarationError, check_names
from ..modes import evaluating
from ..randomness import seeded
from .adversarial import discriminator_loss, generator_loss
from .bound import scores
from .guidance import Guidance, Labels
from .posterior import Posterior, sample_codes

__all__ = [
    "INFOGAN",
    "PAPER_RATES",
    "PLAIN_GAN",
    "Drawn",
    "Game",
    "Invariance",
    "Objective",
    "PriorTerms",
    "Rates",
    "Step",
]


class Game(Protocol):
    """What the step needs of an :class:`~pyro_infogan.InfoGAN`."""

    prior: CodePrior
    generator: nn.Module
    trunk: nn.Module
    discriminator: nn.Linear
    posterior: Posterior
    information_weights: dict[Key, float]

    def draw(self, n: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Noise and codes of ``n`` images."""
        ...

    def decode(self, noise: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """Images of noise and codes."""
        ...

    def features(self, *batches: Tensor) -> Sequence[Tensor]:
        """What the trunk makes of batches of images, each by its own statistics."""
        ...


# Draws of Q that a prior must be able to score.
_TRIED = 64

PRECISIONS = (torch.float32, torch.bfloat16)
"""What the networks can be trained in; float16 would need its losses scaled."""


@dataclass(frozen=True)
class Rates:
    """Adam's settings: a learning rate for each player, and for a prior that learns."""

    discriminator: float = 2e-4
    generator: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    prior: float = 1e-3

    def __post_init__(self) -> None:
        rates = (self.discriminator, self.generator, self.prior)
        good = all(0 <= rate < math.inf for rate in rates) and len(self.betas) == 2
        if not good or not all(0 <= beta < 1 for beta in self.betas):
            raise DeclarationError(
                "Rates",
                got=f"{', '.join(map(str, rates))}, betas {self.betas}",
                expected="finite learning rates of 0 or more and two betas in [0, 1)",
                fix="The paper's are 2e-4 and 1e-3.",
            )


PAPER_RATES = Rates()
"""The paper's learning rates, and its official code's betas."""


@dataclass(frozen=True)
class Invariance:
    """Asks that some codes be readable from distorted images too.

    Their score becomes (1 − share) log q(c | x) + share log q(c | T(x)), less log p(c), with T
    drawn anew for each image. Since c → x → T(x) is a Markov chain, the data processing inequality
    makes the expectation of either part a lower bound on I(c; x), and so is their mixture: the
    objective stays InfoGAN's, unsupervised, and only steers *which* information the codes carry. A
    category that must survive rotation, shear and scaling is more a shape than a style.

    Attributes:
        distort: random distortion of images (n, C, H, W).
        codes: the codes that must survive it; those with a joint posterior by the tuple of their
            names.
        share: weight of the distorted images, in [0, 1].
    """

    distort: Callable[[Tensor], Tensor]
    codes: tuple[Key, ...]
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise DeclarationError(
                "Invariance.share",
                got=self.share,
                expected="a number in [0, 1]",
                fix="Give one that is.",
            )


@dataclass(frozen=True)
class PriorTerms:
    """What moves a prior that learns: a sum of terms, each with a weight of 0 or more.

    The first two are the generator's own loss, and stop at what InfoGAN says of a prior. With
    L_I in it, a prior of categories is drawn towards the one of most entropy. The third asks that
    the prior be what Q finds among the real images: it lowers the cross entropy of p(c) to the
    aggregate posterior E_x[q(c | x)], as the wake phase of wake-sleep does (Hinton et al. 1995).
    Rare categories may die of it, against which the last one helps.

    Attributes:
        adversarial: weight of the non-saturating loss.
        information: weight of L_I of the generator's images, each code with its λ. H(c) is in it.
        wake: weight of log p(c) at codes drawn from Q on real images.
        entropy: weight of H(c).
    """

    adversarial: float = 1.0
    information: float = 1.0
    wake: float = 0.0
    entropy: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.adversarial, self.information, self.wake, self.entropy)
        if not all(0 <= weight < math.inf for weight in weights):
            raise DeclarationError(
                "PriorTerms",
                got=str(weights)[1:-1],
                expected="finite weights of 0 or more",
                fix="Leave a term out with 0.",
            )


@dataclass(frozen=True)
class Objective:
    """The terms of the game, and where the gradient of L_I goes.

    Attributes:
        info_updates_trunk: whether L_I moves the trunk in the discriminator's step, as the paper's
            minimum over Q does, or the posterior's own layers alone.
        info_updates_generator: whether L_I moves the generator.
        instance_noise: standard deviation of normal noise, with pixels from 0 to 1, on every image
            that the trunk sees in training, real or generated (Arjovsky & Bottou 2017, section
            3). Where real images are so clean that the discriminator knows them by their smallest
            traits, it keeps the game open. Like a distortion it leaves L_I a bound.
        redraw: whether the generator is judged by images of its own draw (Goodfellow et al. 2014,
            algorithm 1), rather than by those that the discriminator has just learnt from. It costs
            one more pass of the generator.
        prior: what moves a prior that learns.
        guidance: what labels count for, where there are any.
        invariance: a distortion that some codes must survive.
    """

    info_updates_trunk: bool = True
    info_updates_generator: bool = True
    instance_noise: float = 0.0
    redraw: bool = False
    prior: PriorTerms = PriorTerms()
    guidance: Guidance = field(default_factory=Guidance)
    invariance: Invariance | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.instance_noise < math.inf:
            raise DeclarationError(
                "Objective.instance_noise",
                got=self.instance_noise,
                expected="a finite standard deviation of 0 or more",
                fix="Try 0.1.",
            )

    def without_information(self) -> "Objective":
        """Figure 1's baseline: the same game, of which Q is fitted beside, and nobody feels it.

        A distortion that codes must survive is left out, which is a term of L_I, and what a prior
        that learns takes from Q.
        """
        return replace(
            self,
            info_updates_trunk=False,
            info_updates_generator=False,
            invariance=None,
            prior=replace(self.prior, wake=0.0),
        )


INFOGAN = Objective()
"""The paper's objective."""

PLAIN_GAN = INFOGAN.without_information()
"""Figure 1's baseline: a GAN with Q fitted beside it, which neither trunk nor generator feels."""


class Drawn(NamedTuple):
    """What the generator made of the codes that were drawn.

    Attributes:
        codes: each code, (n, event shape).
        images: (n, C, H, W), with their gradient.
    """

    codes: dict[str, Tensor]
    images: Tensor


class Seen(NamedTuple):
    """What the trunk makes of images.

    Attributes:
        plain: features (n, F) of the images as they are.
        distorted: those of the images distorted, where a code that is scored must survive it.
    """

    plain: Tensor
    distorted: Tensor | None = None


@contextmanager
def _held(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, what is computed with these weights has no gradient for them.

    A backward pass that names other parameters would drop it, but a layer with a backward pass of
    its own, as :mod:`~pyro_infogan.models.convolution` has, is not told so and forms it.
    """
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _as_they_are(weights: Sequence[nn.Parameter]) -> None:
    """A process by itself averages nothing."""


@dataclass
class Step:
    """One update of both players, and the state that goes with it.

    Attributes:
        gan: the networks to train, in training mode.
        objective: the terms of the game.
        rates: Adam's settings.
        precision: dtype that the networks compute in; scores and losses stay in float32.
        guided: codes that have labels. Q of them learns from labelled real images alone.
        average: called with the weights that an optimiser is about to move, whose gradients it may
            replace, such as by their means over several processes.
    """

    gan: Game
    objective: Objective = INFOGAN
    rates: Rates = PAPER_RATES
    precision: torch.dtype = torch.float32
    guided: Collection[str] = ()
    average: Callable[[Sequence[nn.Parameter]], None] = _as_they_are

    def __post_init__(self) -> None:
        gan = self.gan
        if not isinstance(self.objective, Objective) or not isinstance(self.rates, Rates):
            raise DeclarationError(
                "training",
                got=f"objective {self.objective!r}, rates {self.rates!r}",
                expected="an Objective and Rates",
                fix="Leave them out for the paper's.",
            )
        if self.precision not in PRECISIONS:
            raise DeclarationError(
                "precision",
                got=repr(self.precision),
                expected=f"one of {', '.join(map(str, PRECISIONS))}",
                fix="Leave it out for the fastest that this device is good at.",
            )
        parts = {
            "discriminator": (gan.trunk, gan.discriminator, gan.posterior),
            "generator": (gan.generator,),
            "prior": (gan.prior,),
        }
        # A layer that its owner froze stays frozen.
        self.players = {
            player: [p for module in modules for p in module.parameters() if p.requires_grad]
            for player, modules in parts.items()
        }
        rates = {
            "discriminator": self.rates.discriminator,
            "generator": self.rates.generator,
            "prior": self.rates.prior,
        }
        self.optimisers = {
            player: torch.optim.Adam(weights, lr=rates[player], betas=self.rates.betas, fused=True)
            for player, weights in self.players.items()
            # A prior that does not learn is no player, nor are networks that their owner froze.
            if weights
        }
        if not self.optimisers:
            raise DeclarationError(
                "networks",
                got="weights that are all frozen",
                expected="some that learn",
                fix="Call requires_grad_() of those that are to.",
            )
        if self.objective.invariance:
            codes = self.objective.invariance.codes
            check_names("Invariance.codes", codes, gan.information_weights)
        for name in self.guided:
            if name not in gan.posterior.keys:
                raise DeclarationError(
                    f"labels of code {name!r}",
                    got="a code whose posterior is joint with others'",
                    expected="one with a family of its own, which scores its label",
                    fix="Leave it out of the joint posterior.",
                )
        # As they are now, where a prior learns: they move nothing, and may take many draws to know.
        entropies = gan.prior.entropy() if self.guided else {}
        self.entropies = {name: entropies[name].nats for name in self.guided}
        λ2 = self.objective.guidance.weight
        self.weights = dict(gan.information_weights) | dict.fromkeys(self.guided, λ2)
        if self.players["prior"] and self.objective.prior.wake:
            self._check_wake()

    def _check_wake(self) -> None:
        """Refuse a Q that may draw what the prior cannot give, whose log p(c) says nothing."""
        gan = self.gan
        with seeded(0), pyro.validation_enabled(False):
            # Batch norm is not to take these images for those of training.
            with (
                torch.no_grad(),
                evaluating(gan.generator),
                evaluating(gan.trunk),
                evaluating(gan.posterior),
            ):
                images = gan.decode(*gan.draw(_TRIED))
                codes = sample_codes(gan.prior, gan.posterior(gan.trunk(images)))
            log_p = gan.prior.log_prob(codes)
        for name, value in log_p.items():
            # That of a code whose prior does not learn is not asked for.
            if value.requires_grad and not value.isfinite().all():
                raise DeclarationError(
                    f"PriorTerms.wake with code {name!r}",
                    got="a posterior that draws values outside the prior's support",
                    expected="one that stays inside it",
                    fix="Choose such a family, as families.TruncatedNormal or families.Beta.",
                )

    def __call__(
        self, real: Tensor, labels: Mapping[str, Labels] | None = None
    ) -> dict[str, Tensor]:
        """Update discriminator, generator and prior with one batch of real images (n, C, H, W).

        Args:
            real: the images.
            labels: those of each guided code that any of these images has a label of.

        Returns:
            ``loss_d`` and ``loss_g``, the mean probabilities ``d_real`` and ``d_fake`` that the
            discriminator gives to an image being real, and ``info/<code>``: L_I of each code on
            this batch; ``label/<code>``: log q(y | x) + H(c) of the labelled images, where there
            are any. Both are of images without distortions. With a prior that learns also
            ``entropy/<code>``, the mean of −log p(c | earlier codes) over the generator's batch.
            Scalars in nats, detached.
        """
        redraw = self.objective.redraw
        # Only what the generator is judged by needs its gradient.
        with torch.set_grad_enabled(not redraw):
            drawn = self.draw(len(real))
        told = self.update_discriminator(real, drawn, labels)
        told |= self.update_generator(self.draw(len(real)) if redraw else drawn)
        self.update_prior(real)
        return told

    def draw(self, n: int) -> Drawn:
        """Codes of ``n`` images and the images, for one update of either player."""
        noise, codes = self.gan.draw(n)
        with self._autocast(noise.device):
            return Drawn(codes, self.gan.decode(noise, codes))

    def update_discriminator(
        self, real: Tensor, drawn: Drawn, labels: Mapping[str, Labels] | None = None
    ) -> dict[str, Tensor]:
        """Raise V, L_I and the labels' score over trunk, discriminator head and posterior."""
        gan = self.gan
        codes = {name: value.detach() for name, value in drawn.codes.items()}
        generated = drawn.images.detach()
        labels = labels or {}
        scored = [key for key in gan.posterior.scored if key not in self.guided]
        with self._autocast(real.device):
            seen, seen_real = self._see((generated, scored), (real, labels))
            logits, real_logits = gan.discriminator(seen.plain), gan.discriminator(seen_real.plain)
            attached = self.objective.info_updates_trunk
            bound, info = self._bound(codes, seen, attached, skip=self.guided)
            score, told = self._told(labels, seen_real, attached)
        loss = discriminator_loss(real_logits, logits)
        cost = loss - bound.mean() - score
        self.descend("discriminator", (cost, self.players["discriminator"]))
        return {
            "loss_d": loss.detach(),
            "d_real": real_logits.detach().float().sigmoid().mean(),
            "d_fake": logits.detach().float().sigmoid().mean(),
            **{f"info/{label(key)}": value for key, value in info.items()},
            **{f"label/{name}": value for name, value in told.items()},
        }

    def update_generator(self, drawn: Drawn) -> dict[str, Tensor]:
        """Lower the non-saturating loss and raise L_I over the generator, once for what it drew.

        A prior that learns gets its gradient of the same images, which :meth:`update_prior` takes.
        """
        gan, terms = self.gan, self.objective.prior
        codes, generated = drawn
        scored = gan.posterior.scored if self.objective.info_updates_generator else ()
        with _held(self.players["discriminator"]), self._autocast(generated.device):
            (seen,) = self._see((generated, scored))
            loss = generator_loss(gan.discriminator(seen.plain))
            bound = torch.zeros_like(loss)
            if scored:
                bound = self._bound(codes, seen, attached=True)[0]
        told = {"loss_g": loss.detach().mean()}
        routes = [((loss - bound).mean(), self.players["generator"])]
        if self.players["prior"]:
            log_p = gan.prior.log_prob(codes)
            told |= {f"entropy/{name}": -value.detach().mean() for name, value in log_p.items()}
            surprise = torch.stack([value for value in log_p.values() if value.requires_grad])
            felt = terms.adversarial * loss - terms.information * bound
            felt = felt + terms.entropy * surprise.sum(0)
            surrogate = self._score_function(codes, log_p, felt)
            routes.append((felt.mean() + surrogate, self.players["prior"]))
            self.optimisers["prior"].zero_grad()
        self.descend("generator", *routes)
        return told

    def update_prior(self, real: Tensor) -> None:
        """Move a prior that learns, by the generator's last images and Q's reading of real ones."""
        gan, wake = self.gan, self.objective.prior.wake
        if not self.players["prior"]:
            return
        if wake:
            with torch.no_grad(), self._autocast(real.device):
                ((features, _),) = self._see((real, ()))
                codes = sample_codes(gan.prior, gan.posterior(features))
            log_p = gan.prior.log_prob(codes)
            learned = torch.stack([value for value in log_p.values() if value.requires_grad])
            (-wake * learned.sum(0).mean()).backward(inputs=self.players["prior"])
        self.average(self.players["prior"])
        self.optimisers["prior"].step()

    def descend(self, player: str, *routes: tuple[Tensor, list[nn.Parameter]]) -> None:
        """Move a player's weights, each along the gradient of the loss that stands before them.

        Args:
            player: whose optimiser moves: ``"discriminator"`` or ``"generator"``.
            routes: losses, scalars in nats, and the weights that each is for.
        """
        felt = [(loss, weights) for loss, weights in routes if weights]
        optimiser = self.optimisers.get(player)
        if optimiser:
            optimiser.zero_grad()
        for place, (loss, weights) in enumerate(felt, start=1):
            loss.backward(inputs=weights, retain_graph=place < len(felt))
        if optimiser:
            self.average(self.players[player])
            optimiser.step()

    def _score_function(
        self, codes: Mapping[str, Tensor], log_p: Mapping[str, Tensor], cost: Tensor
    ) -> Tensor:
        """A scalar whose gradient is the score-function part of that of E[cost].

        ∇E[f(c)] = E[∇f] + E[f ∇log p(c)]: backpropagation sees the first term, which is all there
        is for reparameterised draws. Draws without a gradient, such as categories, need the second;
        the mean cost of the other images is the baseline.
        """
        objective = self.objective
        advantage = (cost - cost.mean()).detach() * len(cost) / (len(cost) - 1)
        weights = {name: λ for key, λ in self.weights.items() for name in names_of(key)}
        share = objective.prior.information if objective.info_updates_generator else 0.0
        total = cost.new_zeros(())
        for name, value in log_p.items():
            if value.requires_grad and not codes[name].requires_grad:
                # Less what the cost holds of log p(c), whose gradient has no mean, only noise.
                held = share * weights[name] + objective.prior.entropy
                total = total + ((advantage - held) * value).mean()
        return total

    def _autocast(self, device: torch.device) -> torch.autocast:
        # One context for all of an update, no more and no less: it casts each weight once and
        # keeps it, until the optimiser makes it stale.
        return torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32)

    def _bound(
        self,
        codes: dict[str, Tensor],
        seen: Seen,
        attached: bool,
        skip: Collection[str] = (),
    ) -> tuple[Tensor, dict[Key, Tensor]]:
        """Σ λ L_I of each image (n,) with the invariance mixed in, and each code's own mean.

        Codes to ``skip`` are not in the sum.
        """
        gan = self.gan

        def score(features: Tensor) -> dict[Key, Tensor]:
            posterior = gan.posterior(features if attached else features.detach())
            with self._float32(features):
                return scores(gan.prior, posterior, codes)

        info = score(seen.plain)
        kept = {key: value for key, value in info.items() if key not in skip}
        steered = self._steered(kept, seen, score)
        weighted = [self.weights[key] * value for key, value in steered.items()]
        total = torch.stack(weighted).sum(0) if weighted else seen.plain.new_zeros(len(seen.plain))
        return total, {key: value.detach().mean() for key, value in info.items()}

    def _told(
        self, labels: Mapping[str, Labels], seen: Seen, attached: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """λ2 Σ log q(y | x), the mean over labelled images, with the invariance mixed in.

        And of each code that has any here log q(y | x) + H(c), without distortions.
        """
        gan = self.gan

        def score(features: Tensor) -> dict[Key, Tensor]:
            posterior = gan.posterior(features if attached else features.detach())
            with self._float32(features):
                return {name: posterior[name].log_prob(one.values) for name, one in labels.items()}

        def mean(of: Mapping[Key, Tensor], name: str) -> Tensor:
            known = labels[name].known
            return (of[name] * known).sum() / known.sum()

        plain = score(seen.plain) if labels else {}
        steered = self._steered(plain, seen, score)
        total = sum((mean(steered, name) for name in labels), seen.plain.new_zeros(()))
        told = {name: mean(plain, name).detach() + self.entropies[name] for name in labels}
        return self.objective.guidance.weight * total, told

    def _steered(
        self,
        plain: Mapping[Key, Tensor],
        seen: Seen,
        score: Callable[[Tensor], Mapping[Key, Tensor]],
    ) -> Mapping[Key, Tensor]:
        """Scores with those of distorted images mixed in, where a code must be invariant."""
        invariance, distorted = self.objective.invariance, seen.distorted
        if not invariance or distorted is None:
            return plain
        values = score(distorted)
        return {
            key: torch.lerp(value, values[key], invariance.share)
            if key in invariance.codes
            else value
            for key, value in plain.items()
        }

    def _see(self, *asked: tuple[Tensor, Collection[Key]]) -> list[Seen]:
        """What the trunk makes of batches of images, each with what is to be scored on it.

        All pass it at once, distorted ones too, and each by its own batch statistics.
        """
        invariance, noise = self.objective.invariance, self.objective.instance_noise
        batches = [images for images, _ in asked]
        views = []
        for place, (images, keys) in enumerate(asked):
            views.append([place])
            if invariance and any(key in invariance.codes for key in keys):
                views[-1].append(len(batches))
                with self._float32(images):
                    batches.append(invariance.distort(images))
        if noise:
            batches = [images + noise * torch.randn_like(images) for images in batches]
        features = self.gan.features(*batches)
        return [Seen(*(features[place] for place in places)) for places in views]

    def _float32(self, like: Tensor) -> torch.autocast:
        """Densities need it, and a map's coordinates in bfloat16 are off by pixels."""
        return torch.autocast(like.device.type, enabled=False)
