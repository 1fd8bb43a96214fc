"""What every test shares: fixed seeds, small InfoGANs, and a world left as it was found."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import InfoGAN

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def world():
    """Seed every test; fail one that leaves parameters in Pyro's store or changes validation."""
    torch.manual_seed(0)
    validation = pyro.distributions.is_validation_enabled()
    yield
    assert dict(pyro.get_param_store()) == {}
    assert pyro.distributions.is_validation_enabled() == validation


def small_codes():
    """One code of each kind."""
    return {
        "digit": dist.Categorical(torch.tensor([0.5, 0.3, 0.2])),
        "slant": dist.Uniform(-1.0, 1.0),
        "style": dist.Normal(0.0, 1.0).expand([2]).to_event(1),
    }


@pytest.fixture
def gan():
    """A small InfoGAN on 1×8×8 images."""
    return InfoGAN(small_codes(), image_shape=(1, 8, 8), noise=4)


@pytest.fixture
def images():
    """Forty small images, as bytes."""
    return torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
