"""InfoGAN: networks seen as two Pyro programs.

``gan.model(n)`` samples noise and codes and generates images; ``gan.guide(images)`` samples the
same code sites from Q. Both are ordinary Pyro programs. ``gan.observed(scale)`` is the model again,
as a program that explains given images.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.runtime import get_plates
from torch import Tensor, nn
from torch.distributions import Distribution

from . import runs
from .codes import (
    NOISE,
    PIXELS,
    PLATE,
    CodePrior,
    Declaration,
    Entropy,
    Key,
    label,
    names_of,
    sample,
    traced,
)
from .declarations import (
    arguments,
    check_sizes,
    checked_shape,
    declared,
    needs_code,
    undeclared,
)
from .descriptions import matches
from .devices import usable_device
from .errors import (
    DataError,
    DeclarationError,
    InfoGANError,
    RunError,
    check_names,
    checked_count,
)
from .images import checked_images, scaled
from .inference import Chosen, Information, Posterior, families, in_words, sample_codes, scores
from .models import networks as nets
from .models.experiment import Experiment, load_file
from .modes import evaluating, frozen
from .randomness import seeded

__all__ = ["InfoGAN"]

BATCH = 1_000
"""Images that go through the networks at once outside training, to bound memory."""


class InfoGAN(nn.Module):
    """A generator with declared codes, a discriminator, and a posterior over the codes.

    Args:
        codes: a Pyro distribution for each code, with empty batch shape; or a Pyro program that
            samples them, in which a code may depend on earlier ones. A program with parameters is a
            torch module, and its parameters are trained with the generator's.
        image_shape: (channels, height, width), at least 8×8.
        noise: how many numbers of incompressible noise z, each U(−1, 1), go beside the codes.
        posterior: a family for each code that is not to have the default of its support; under a
            tuple of names, one for these codes together. Or a guide for all codes.
        information_weights: λ for each code that is not to have the default: 1 for discrete codes,
            0.1 for continuous ones, whose differential entropy has another scale. It scales what
            generator, trunk and posterior learn from the code. Codes with a joint posterior have
            one λ, under the tuple of their names.
        networks: builds generator and trunk; by default the paper's for 1×28×28 images and a DCGAN
            otherwise.

    Attributes:
        prior: :class:`~pyro_infogan.codes.CodePrior`, P(c).
        generator: (n, noise and encoded codes) → images (n, C, H, W) in [0, 1].
        trunk: images → features (n, F), shared by discriminator and posterior.
        discriminator: features → logit (n, 1) that the image is real.
        posterior: features → Q(c | x), a distribution for each code.
        information_weights: λ of each code.

    Raises:
        DeclarationError: for a declaration that cannot be built, naming the part and the fix.

    Example:
        >>> gan = InfoGAN({"slant": dist.Uniform(-1.0, 1.0)}, image_shape=(1, 28, 28))
        >>> gan.generate(2).shape
        torch.Size([2, 1, 28, 28])
        >>> gan.information_weights
        {'slant': 0.1}
    """

    def __init__(
        self,
        codes: Declaration,
        image_shape: tuple[int, int, int],
        *,
        noise: int = 62,
        posterior: Chosen | None = None,
        information_weights: Mapping[str, float] | Mapping[Key, float] | None = None,
        networks: nets.Networks = nets.for_shape,
    ) -> None:
        super().__init__()
        self.image_shape = checked_shape(image_shape)
        self.noise = checked_count("noise", noise, least=0, error=DeclarationError)
        self.networks = networks
        self.prior = CodePrior(codes)
        pair = networks(self.image_shape, noise + self.prior.width)
        if not isinstance(pair, nets.Pair):
            raise DeclarationError(
                "networks",
                got=f"a function that gives {type(pair).__name__}",
                expected="one that gives networks.Pair(generator, trunk, features)",
                fix="Return the two networks, and how many features the trunk gives, in one.",
            )
        self.generator, self.trunk = pair.generator, pair.trunk
        self.discriminator = nn.Linear(pair.features, 1)
        hidden = nets.posterior_layer(pair.features, pair.hidden)
        chosen = {} if posterior is None else posterior
        self.posterior = Posterior(self.prior, hidden, pair.hidden or pair.features, chosen)
        self.information_weights = self._weights(information_weights or {})
        self._initialise(pair)
        self._check_networks()

    @classmethod
    def from_experiment(cls, experiment: Experiment) -> Self:
        """An untrained InfoGAN, as the experiment declares it."""
        return cls(
            # A copy, since a program with parameters is trained, and a declaration is not.
            copy.deepcopy(experiment.codes),
            experiment.image_shape,
            noise=experiment.noise,
            posterior=experiment.posterior,
            information_weights=experiment.information_weights,
            networks=experiment.networks,
        )

    def _initialise(self, pair: nets.Pair) -> None:
        """Draw the weights of this library's own layers; the user's stay as they were built."""
        if pair.initialise:
            pair.initialise(self.generator)
            pair.initialise(self.trunk)
        nets.initialise(self.discriminator)
        nets.initialise(self.posterior.hidden)
        for head in self.posterior.heads:
            if isinstance(head, families.Head):
                nets.initialise(head)

    def _check_networks(self) -> None:
        """Refuse networks that do not fit the declaration, before they fail in training."""
        low = high = 0.0
        with torch.no_grad(), evaluating(self), seeded(0):
            try:
                images = self.decode(*self.draw(2))
                found = tuple(images.shape), tuple(self.trunk(images.to(self.dtype)).shape)
                low, high = images.min().item(), images.max().item()
            except RuntimeError as error:
                found = (str(error).splitlines() or ["an error"])[0]
        expected = (2, *self.image_shape), (2, self.discriminator.in_features)
        if found != expected:
            raise DeclarationError(
                "networks, for 2 images",
                got=f"shapes of images and features {found}",
                expected=f"{expected[0]} and {expected[1]}",
                fix="Build both for the image_shape and inputs that the function is called with.",
            )
        if low < 0 or high > 1:
            raise DeclarationError(
                "networks, for 2 images",
                got=f"a generator of values from {low:.3g} to {high:.3g}",
                expected="values in [0, 1]",
                fix="End it in nn.Sigmoid(); of tanh(x), which goes from −1 to 1, take half of "
                "1 + tanh(x).",
            )

    def _weights(self, chosen: Mapping[Any, float]) -> dict[Key, float]:
        if not isinstance(chosen, Mapping):
            raise DeclarationError(
                "information_weights",
                got=repr(chosen),
                expected="a dictionary of names and numbers",
                fix='Write it as in {"slant": 0.05}.',
            )
        weights = {
            key: 1.0 if all(map(self.prior.is_discrete, names_of(key))) else 0.1
            for key in self.posterior.scored
        }
        check_names("information_weights", chosen, weights)
        for name, weight in chosen.items():
            if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise DeclarationError(
                    f"information weight of {name!r}",
                    got=repr(weight),
                    expected="a number, 0 or more",
                    fix="Use 0 to leave the code's information to itself.",
                )
            weights[name] = float(weight)
        return weights

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.discriminator.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        return self.discriminator.weight.dtype

    def __repr__(self) -> str:
        lines = [f"InfoGAN(image_shape={self.image_shape}, noise={self.noise})"]
        sites = self.prior.present()
        for key, nats in self.entropies.items():
            priors = ", ".join(in_words(sites[name]) for name in names_of(key))
            lines.append(
                f"  {label(key)}: {priors}, posterior {self._head_of(key)}, H = {nats:.3f} nats, "
                f"λ = {self.information_weights[key]:g}"
            )
        return "\n".join(lines)

    def _head_of(self, key: Key) -> str:
        """Name of the class that scores a key."""
        heads = dict(zip(self.posterior.keys, self.posterior.heads, strict=True))
        return type(heads.get(key, self.posterior.heads[0])).__name__

    @property
    def entropies(self) -> dict[Key, float]:
        """H(c) in nats of everything that is scored; of a code that depends on others, given them.

        For the standard errors of those without a closed form, see :meth:`information`.
        """
        return {key: entropy.nats for key, entropy in self._entropies().items()}

    def _entropies(self) -> dict[Key, Entropy]:
        each = self.prior.entropy()
        return {
            key: Entropy.together(each[name] for name in names_of(key))
            for key in self.posterior.scored
        }

    # The two programs

    def noise_prior(self) -> Distribution:
        """U(−1, 1) of each number of z, with empty batch shape."""
        edge = torch.ones(self.noise, device=self.device, dtype=self.dtype)
        return dist.Uniform(-edge, edge, validate_args=False).to_event(1)

    def model(self, n: int) -> Tensor:
        """The generative program: sites ``noise`` and every code in a plate of ``n`` images.

        Condition, hold (``poutine.do``), replay or trace it as any Pyro program. The networks run
        in the mode they are in: call ``eval()`` for images that do not depend on their batch.

        Returns:
            Images (n, C, H, W) in [0, 1]; with the batch dimensions of plates around the call in
            front.

        Raises:
            DataError: for a site conditioned on a value that does not expand to the plate.
        """
        checked_count("n", n, least=1)
        with pyro.plate(PLATE, n):
            noise = sample(NOISE, self.noise_prior())
            codes = self.prior()
            batch = _batch_of_plates()
        # A site that is conditioned or held may have any value at all.
        values = {name: self.prior.fitted(name, value, batch) for name, value in codes.items()}
        return self.decode(self._fitted_noise(noise, batch), values)

    def _fitted_noise(self, noise: Any, batch: tuple[int, ...]) -> Tensor:
        shape = (*batch, self.noise)
        try:
            fitted = torch.as_tensor(noise, device=self.device).to(self.dtype).expand(shape)
        except (TypeError, ValueError, RuntimeError):
            fitted = None
        if fitted is None or not fitted.isfinite().all():
            raise DataError(
                "noise",
                got=f"shape {tuple(noise.shape)}" if isinstance(noise, Tensor) else repr(noise),
                expected=f"finite numbers that expand to shape {shape}",
                fix="Give one row of noise for each image.",
            )
        return fitted

    def observed(self, scale: float) -> Callable[[Tensor], Tensor]:
        """The generative program of given images: what Pyro's inference takes beyond Q.

        The same sites as :meth:`model`, in a plate over the images, and beside them ``pixels`` ~
        Normal(G(z, c), scale), observed. The generator runs in evaluation mode, and no gradient
        reaches the weights of generator or prior.

        Categories may be enumerated. Where a continuous code depends on one, condition the category
        before Hamiltonian Monte Carlo: Pyro would give every category a code of its own. The guide
        has no noise: beside it, draw that from its prior with
        ``poutine.block(gan.observed(scale), hide=["noise"])``. A guide that may draw what the prior
        cannot, as the default normal of a ``Uniform`` code, is refused by Pyro's validation and has
        no ELBO: choose a family inside the support, such as ``families.TruncatedNormal``.
        :mod:`pyro_infogan.inversion` does the common things, whatever the family.

        Args:
            scale: standard deviation of a pixel about the generated one, in the images' units: how
                far the generator is trusted.

        Returns:
            A program of images (n, C, H, W), which gives the generated ones.

        Raises:
            DataError: for a scale that is not a positive number; when called, for images of another
                shape, type or range.

        Example:
            Hamiltonian Monte Carlo over noise and slant, with the digits summed out by Pyro:

            >>> from pyro.infer import MCMC, NUTS
            >>> codes = {"digit": dist.Categorical(torch.ones(3)), "slant": dist.Uniform(-1.0, 1.0)}
            >>> gan = InfoGAN(codes, image_shape=(1, 8, 8), noise=2)
            >>> kernel = NUTS(gan.observed(scale=0.1), max_tree_depth=3)
            >>> mcmc = MCMC(kernel, num_samples=4, warmup_steps=4, disable_progbar=True)
            >>> mcmc.run(gan.generate(5))
            >>> {name: tuple(draws.shape) for name, draws in mcmc.get_samples().items()}
            {'noise': (4, 5, 2), 'slant': (4, 5)}
        """
        scale = checked_scale(scale)

        def program(images: Tensor) -> Tensor:
            images = scaled(checked_images(images, self.image_shape)).to(self.device)
            with pyro.plate(PLATE, len(images)):
                noise = sample(NOISE, self.noise_prior())
                sites = traced(frozen(self.prior))
                codes = {name: site["value"] for name, site in sites.items()}
                # Enumerated values stand in axes of their own, left of the plates; any others are
                # one for all images or one for each.
                if not any("_enumerate_dim" in site["infer"] for site in sites.values()):
                    batch = _batch_of_plates()
                    noise = self._fitted_noise(noise, batch)
                    codes = {
                        name: self.prior.fitted(name, value, batch) for name, value in codes.items()
                    }
                with evaluating(self.generator):
                    generated = self._generated(frozen(self.generator), noise, codes)
                pixels = dist.Normal(generated, scale).to_event(3)
                pyro.sample(PIXELS, cast(Any, pixels), obs=images)
            return generated

        return program

    def guide(self, images: Tensor) -> dict[str, Tensor]:
        """The amortised posterior as a program: every code's site, sampled from Q(c | x).

        Args:
            images: (n, C, H, W) in [0, 1]; batch dimensions of outer plates may stand in front.

        Returns:
            The sampled codes by name.

        Raises:
            DataError: for images of another shape, type or range.
        """
        nested = isinstance(images, Tensor) and images.dim() > 4
        flat = checked_images(images.flatten(0, -4) if nested else images, self.image_shape)
        outer = images.shape[:-3]
        images = scaled(flat).to(self.device).unflatten(0, outer)
        posteriors = self.posteriors(images)
        with pyro.plate(PLATE, outer[-1]):
            return sample_codes(self.prior, posteriors)

    # The same, piece by piece, without a trace

    def draw(
        self, n: int, held: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Noise (n, noise) and codes (n, event shape) from their priors, given the held ones."""
        noise = torch.rand(n, self.noise, device=self.device, dtype=self.dtype) * 2 - 1
        return noise, self.prior.draw(n, held)

    def decode(self, noise: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """G(z, c): images (*, C, H, W) in [0, 1] from noise (*, noise) and all codes.

        Raises:
            DataError: for a code that is missing, or codes and noise whose batch shapes do not
                broadcast.
        """
        return self._generated(self.generator, noise, codes)

    def _generated(
        self, generator: Callable[[Tensor], Tensor], noise: Tensor, codes: Mapping[str, Tensor]
    ) -> Tensor:
        if missing := [name for name in self.prior.sites if name not in codes]:
            raise DataError(
                "codes",
                got=f"none of {', '.join(map(repr, missing))}",
                expected=f"values of all of {list(self.prior.sites)}",
                fix="Add them, or let gan.generate(n, codes={...}) draw those that are not held.",
            )
        parts = [noise, *self.prior.encode(codes).values()]
        try:
            batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        except RuntimeError:
            got = {name: tuple(value.shape) for name, value in codes.items()}
            raise DataError(
                "codes",
                got=f"shapes {got} with noise {tuple(noise.shape)}",
                expected="batch shapes that broadcast",
                fix="Give one value for all images, or one for each.",
            ) from None
        inputs = torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)
        images = generator(inputs.reshape(-1, inputs.shape[-1]).to(self.dtype)).float()
        return images.unflatten(0, batch)

    def features(self, *batches: Tensor) -> Sequence[Tensor]:
        """What the trunk makes of several batches of images, (n, C, H, W) each.

        In training each is normalised by statistics of its own.
        """
        batches = tuple(images.to(self.dtype) for images in batches)
        if isinstance(self.trunk, nets.Trunk):
            return self.trunk.each(*batches)
        return [self.trunk(images) for images in batches]

    def posteriors(self, images: Tensor) -> dict[Key, Distribution]:
        """Q(c | x) of each code, with the batch shape of ``images`` (*, C, H, W)."""
        *batch, _, _, _ = images.shape
        features = self.trunk(images.reshape(-1, *self.image_shape).to(self.dtype))
        return self.posterior(features.unflatten(0, batch))

    # What users ask

    @torch.no_grad()
    def generate(
        self, n: int, codes: Mapping[str, Any] | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Images (n, C, H, W) in [0, 1], with some codes held and the rest drawn from the prior.

        Holding is Pyro's ``do``: codes that depend on a held one are drawn given it.

        Args:
            n: how many.
            codes: a value for each held code: one for all images, or one each. Continuous codes may
                be held outside their support.
            noise: (n, noise) or one row for all, drawn by default.

        Raises:
            DataError: for an unknown code, a value that does not fit its prior, or values outside
                their support given which a code that is not held has no distribution.
        """
        checked_count("n", n, least=1)
        drawn, values = self.draw(n, self.prior.hold(codes if codes is not None else {}, n))
        if noise is not None:
            drawn = self._fitted_noise(noise, (n,))
        with evaluating(self):
            chunks = [
                self.decode(
                    drawn[start : start + BATCH],
                    {name: value[start : start + BATCH] for name, value in values.items()},
                )
                for start in range(0, n, BATCH)
            ]
        return torch.cat(chunks)

    @torch.no_grad()
    def infer(self, images: Tensor) -> dict[Key, Distribution]:
        """Q(c | x) of real images, as one distribution for each code with batch shape (n,).

        Codes with a joint posterior have one under the tuple of their names, over all of their
        numbers side by side; a guide has one over all codes.

        Args:
            images: (n, C, H, W), uint8 or floats in [0, 1].

        Raises:
            DataError: for images of another shape, type or range.
        """
        images = checked_images(images, self.image_shape).to(self.device)
        with evaluating(self):
            parts = [self.trunk(scaled(part).to(self.dtype)) for part in images.split(BATCH)]
            return self.posterior(torch.cat(parts))

    @torch.no_grad()
    def information(self, n: int = 10_000) -> dict[Key, Information]:
        """L_I of each code in nats, with its standard error and H(c), from ``n`` new images.

        Codes with a joint posterior have one L_I together. With a guide the codes' terms are a
        bound as a sum alone: see :func:`~pyro_infogan.inference.scores`.

        The networks run in evaluation mode, so that draws are independent and the error is honest.
        Batch norm then uses its running statistics. While training they lag behind the weights, and
        the bound may read far below the training metrics; ``train`` ends by taking them anew.

        Raises:
            DataError: for fewer than two draws, which have no standard error.
        """
        checked_count("n", n, least=2)
        parts: dict[Key, list[Tensor]] = {key: [] for key in self.posterior.scored}
        with evaluating(self):
            for start in range(0, n, BATCH):
                noise, codes = self.draw(min(BATCH, n - start))
                posteriors = self.posteriors(self.decode(noise, codes))
                for key, score in scores(self.prior, posteriors, codes).items():
                    parts[key].append(score)
        entropies = self._entropies()
        return {key: Information.of(torch.cat(part), entropies[key]) for key, part in parts.items()}

    # Saving

    def declaration(self) -> dict[str, Any]:
        """What was declared, as plain data; parts that are the user's own code only by name."""
        return declared(
            self.prior,
            self.posterior,
            image_shape=self.image_shape,
            noise=self.noise,
            information_weights=self.information_weights,
            networks=self.networks,
        )

    @classmethod
    def from_declaration(cls, declaration: Mapping[str, Any]) -> Self:
        """An untrained InfoGAN from :meth:`declaration`'s data.

        Raises:
            DeclarationError: where a part was the user's own code.
        """
        return cls(**arguments(declaration))

    def contents(self) -> dict[str, Any]:
        """Declaration and weights, as :func:`~pyro_infogan.runs.write` keeps them."""
        return {"declaration": self.declaration(), "weights": self.state_dict()}

    def save(self, path: str | Path) -> None:
        """Write declaration and weights to one file, whole or not at all."""
        runs.write(Path(path), self.contents())

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Self:
        """A trained InfoGAN from a run folder (its newest good checkpoint) or a saved file.

        Reading a file runs no code. A run whose declaration holds code of the user's own is built
        from the experiment file kept in its folder, which is Python and does run.

        Returns:
            The InfoGAN in evaluation mode.

        Raises:
            RunError: for a missing, truncated or foreign file, or a device that is not there.
            DeclarationError: for parts of the user's own where no experiment file was kept.
        """
        path, device = Path(path), usable_device(device)
        run = runs.Run(path) if path.is_dir() else None
        contents = run.newest()[1] if run else runs.read(path)
        declaration = runs.part(contents, "declaration", path)
        experiment = run.experiment_file() if run else None
        if experiment and needs_code(declaration):
            gan = cls.from_experiment(load_file(*experiment)[0]).adopt(contents, path)
        else:
            gan = cls.from_contents(contents, path)
        return gan.to(device).eval()

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any], path: Path) -> Self:
        """A trained InfoGAN from :meth:`contents` that were read from ``path``; runs no code.

        Raises:
            RunError: for weights that do not fill the networks of the declaration.
            DeclarationError: where a part was the user's own code.
        """
        declaration = runs.part(contents, "declaration", path)
        check_sizes(declaration, contents, path)
        try:
            gan = cls.from_declaration(declaration)
        except InfoGANError:
            raise
        except Exception as error:  # constructors of distributions raise a dozen types
            raise undeclared(path, error) from error
        return gan.adopt(contents, path)

    def restore(self, path: str | Path) -> Self:
        """Take the weights of a run folder or saved file of the same declaration.

        Raises:
            RunError: for a missing or truncated file, or one of another declaration.
        """
        path = Path(path)
        contents = runs.Run(path).newest()[1] if path.is_dir() else runs.read(path)
        return self.adopt(contents, path)

    def adopt(self, contents: Mapping[str, Any], path: Path) -> Self:
        """Take the weights of a checkpoint that was read from ``path``.

        Raises:
            RunError: for one of another declaration or with other networks.
        """
        saved, own = runs.part(contents, "declaration", path), self.declaration()
        if not isinstance(saved, Mapping):
            raise undeclared(path, TypeError(f"a declaration that is a {type(saved).__name__}"))
        different = [key for key in own if not matches(saved.get(key), own[key])]
        if different:
            raise RunError(
                f"checkpoint {path}",
                got="; ".join(f"{key} {saved.get(key)}" for key in different),
                expected="; ".join(f"{key} {own[key]}" for key in different),
                fix="Choose another run folder, or declare the InfoGAN as that run did.",
            )
        before = copy.deepcopy(self.state_dict())
        try:
            self.load_state_dict(runs.part(contents, "weights", path))
        except (RuntimeError, TypeError, AttributeError) as error:
            # What fits is taken before the rest is refused.
            self.load_state_dict(before)
            raise RunError(
                f"checkpoint {path}",
                got=str(error).splitlines()[-1].strip(),
                expected="the weights of this declaration",
                fix="The networks' code has changed since; build the InfoGAN with the old one.",
            ) from None
        return self


def checked_scale(scale: Any) -> float:
    """The scale of pixels about generated ones, if it is a positive finite number.

    Raises:
        DataError: otherwise.
    """
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not number or not 0 < scale < math.inf:
        raise DataError(
            "scale",
            got=repr(scale),
            expected="a positive number: the standard deviation of a pixel in [0, 1]",
            fix="A generator that fits its images to a tenth of their range has 0.1.",
        )
    return float(scale)


def _batch_of_plates() -> tuple[int, ...]:
    """Shape of the plates around this point of a program."""
    sizes = {frame.dim: frame.size for frame in get_plates() if frame.dim is not None}
    return tuple(sizes.get(dim, 1) for dim in range(min(sizes), 0))
