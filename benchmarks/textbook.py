"""The baselines of ``speed.py``: InfoGAN as a page of plain PyTorch.

Written as popular repositories write it, and with what they leave on the table: a data loader that
makes a tensor of each picture, PyTorch's own layers and default Adam, ``backward()`` through
everything that is in reach. Same networks, noise, codes and batch as ``mnist-paper``.

:func:`trainer` makes a forward pass for every use, and has three optimisers, of which the third
gives L_I to all networks, as eriklindernoren/PyTorch-GAN does (which lets the discriminator see the
generator's last images, and spares one of three passes of the generator).
:func:`lean_trainer` has two, and one batch of generated images for both players, as
Natsu6767/InfoGAN-PyTorch and pianomania/infoGAN-pytorch do.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

NOISE, CATEGORIES, NUMBERS = 62, 10, 2


class Pictures(Dataset):
    """Images (n, 1, H, W) of uint8 as a folder's pictures would come."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.transform = images, ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.images[index, 0].numpy()))


class Generator(nn.Module):
    """Codes and noise to images."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(NOISE + CATEGORIES + NUMBERS, 1024),
            nn.BatchNorm1d(1024),
            nn.ReLU(),
            nn.Linear(1024, 7 * 7 * 128),
            nn.BatchNorm1d(7 * 7 * 128),
            nn.ReLU(),
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Images of joined noise and codes."""
        return self.up(self.dense(inputs).view(-1, 128, 7, 7))


class Discriminator(nn.Module):
    """Images to a probability, logits of the category, mean and scale of the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(64, 128, 4, 2, 1),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Linear(7 * 7 * 128, 1024),
            nn.BatchNorm1d(1024),
            nn.LeakyReLU(0.1),
        )
        self.real = nn.Linear(1024, 1)
        self.hidden = nn.Sequential(nn.Linear(1024, 128), nn.BatchNorm1d(128), nn.LeakyReLU(0.1))
        self.category = nn.Linear(128, CATEGORIES)
        self.mean, self.scale = nn.Linear(128, NUMBERS), nn.Linear(128, NUMBERS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What it says of each image."""
        features = self.trunk(images)
        hidden = self.hidden(features)
        scale = self.scale(hidden).exp()
        return self.real(features).sigmoid(), self.category(hidden), self.mean(hidden), scale


def networks(device: torch.device) -> tuple[Generator, Discriminator]:
    """Both, with the paper's first weights."""
    generator, discriminator = Generator().to(device), Discriminator().to(device)
    for network in (generator, discriminator):
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0.0, 0.02)
    return generator, discriminator


def loaded(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Batches without end, as a data loader makes them."""
    loader = DataLoader(Pictures(images), batch_size, shuffle=True, drop_last=True)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def draw(batch_size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What goes into the generator, and the codes in it: categories and numbers."""
    noise = torch.rand(batch_size, NOISE, device=device) * 2 - 1
    category = torch.randint(CATEGORIES, (batch_size,), device=device)
    numbers = torch.rand(batch_size, NUMBERS, device=device) * 2 - 1
    return torch.cat([noise, F.one_hot(category, CATEGORIES), numbers], 1), category, numbers


def information(
    logits: Tensor, mean: Tensor, scale: Tensor, category: Tensor, numbers: Tensor
) -> Tensor:
    """−L_I but for a constant."""
    continuous = F.gaussian_nll_loss(mean, numbers, scale.square())
    return F.cross_entropy(logits, category) + 0.1 * continuous


def trainer(images: Tensor, batch_size: int, device: torch.device) -> Callable[[], None]:
    """A function that trains for one step on the next batch: a pass for every use."""
    generator, discriminator = networks(device)
    both = itertools.chain(generator.parameters(), discriminator.parameters())
    for_generator = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.999))
    for_discriminator = torch.optim.Adam(discriminator.parameters(), 2e-4, betas=(0.5, 0.999))
    for_information = torch.optim.Adam(both, 2e-4, betas=(0.5, 0.999))
    batches = loaded(images, batch_size)

    def step() -> None:
        pictures = next(batches).to(device)
        ones = torch.ones(batch_size, 1, device=device)
        zeros = torch.zeros(batch_size, 1, device=device)

        for_generator.zero_grad()
        inputs, _, _ = draw(batch_size, device)
        F.binary_cross_entropy(discriminator(generator(inputs))[0], ones).backward()
        for_generator.step()

        for_discriminator.zero_grad()
        inputs, _, _ = draw(batch_size, device)
        loss = F.binary_cross_entropy(discriminator(pictures)[0], ones)
        loss = loss + F.binary_cross_entropy(discriminator(generator(inputs).detach())[0], zeros)
        loss.backward()
        for_discriminator.step()

        for_information.zero_grad()
        inputs, category, numbers = draw(batch_size, device)
        _, logits, mean, scale = discriminator(generator(inputs))
        information(logits, mean, scale, category, numbers).backward()
        for_information.step()

    return step


def lean_trainer(images: Tensor, batch_size: int, device: torch.device) -> Callable[[], None]:
    """The same of two optimisers, both of which see one batch of generated images."""
    generator, discriminator = networks(device)
    q = (discriminator.hidden, discriminator.category, discriminator.mean, discriminator.scale)
    with_q = itertools.chain(generator.parameters(), *(part.parameters() for part in q))
    judges = itertools.chain(discriminator.trunk.parameters(), discriminator.real.parameters())
    for_generator = torch.optim.Adam(with_q, 1e-3, betas=(0.5, 0.999))
    for_discriminator = torch.optim.Adam(judges, 2e-4, betas=(0.5, 0.999))
    batches = loaded(images, batch_size)

    def step() -> None:
        pictures = next(batches).to(device)
        ones = torch.ones(batch_size, 1, device=device)
        zeros = torch.zeros(batch_size, 1, device=device)

        for_discriminator.zero_grad()
        inputs, category, numbers = draw(batch_size, device)
        generated = generator(inputs)
        F.binary_cross_entropy(discriminator(pictures)[0], ones).backward()
        F.binary_cross_entropy(discriminator(generated.detach())[0], zeros).backward()
        for_discriminator.step()

        for_generator.zero_grad()
        real, logits, mean, scale = discriminator(generated)
        loss = F.binary_cross_entropy(real, ones)
        loss = loss + information(logits, mean, scale, category, numbers)
        loss.backward()
        for_generator.step()

    return step
