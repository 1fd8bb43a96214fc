"""Whatever is declared, read or typed ends in a result or in an error of ours.

Most of it is drawn by hypothesis: a sample here, thousands of cases with ``make soak``.
"""

import copy
import errno
import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from contextlib import redirect_stderr, redirect_stdout, suppress

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyro_infogan import InfoGAN, cli, runs, train
from pyro_infogan.datasets import cached, read_image
from pyro_infogan.errors import DeclarationError, InfoGANError, RunError, Stopped, TrainingWarning
from pyro_infogan.inference import families
from pyro_infogan.models.experiment import load_file
from pyro_infogan.runs import Run
from pyro_infogan.watch import LINES, LOOKS, Watch
from tests.conftest import small_codes
from tests.killed import images, tiny

SOAK = bool(os.environ.get("SOAK"))


def cases(n):
    """As many cases in ``make test``, and sixty times as many in ``make soak``."""
    return settings(
        max_examples=n * (60 if SOAK else 1),
        deadline=None,
        derandomize=not SOAK,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def built(codes=None, shape=(1, 8, 8), networks=tiny):
    return InfoGAN(codes or {"u": dist.Uniform(-1.0, 1.0)}, shape, noise=2, networks=networks)


# Declarations

odd = st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-30, 1e30, 1.0])
numbers = odd | st.floats(-10.0, 10.0, width=32)


@st.composite
def priors(draw):
    """A distribution, or None where Pyro itself refuses to build it."""
    a, b = draw(numbers), draw(numbers)
    size = draw(st.integers(0, 4))
    weights = torch.tensor(draw(st.lists(numbers, min_size=size, max_size=size)))
    make = draw(
        st.sampled_from(
            [
                lambda: dist.Normal(a, b),
                lambda: dist.Uniform(a, b),
                lambda: dist.Beta(a, b),
                lambda: dist.Gamma(a, b),
                lambda: dist.LogNormal(a, b),
                lambda: dist.StudentT(a, b),
                lambda: dist.Cauchy(a, b),
                lambda: dist.VonMises(a, b),
                lambda: dist.Exponential(b),
                lambda: dist.Poisson(b),
                lambda: dist.Geometric(b),
                lambda: dist.Bernoulli(b),
                lambda: dist.Delta(torch.tensor(a)),
                lambda: dist.Categorical(weights),
                lambda: dist.OneHotCategorical(weights),
                lambda: dist.Dirichlet(weights),
            ]
        )
    )
    vector = draw(st.integers(0, 3))
    try:
        prior = make()
        return prior.expand([vector]).to_event(1) if draw(st.booleans()) else prior
    except Exception:
        return None


names = (
    st.sampled_from(["u", "digit", "noise", "images", "_x", "a b", "", "é", "class"]) | st.text()
)
others = st.none() | st.integers() | st.text() | st.just(torch.distributions.Normal(0.0, 1.0))


@cases(25)
@given(st.dictionaries(names, priors() | others, max_size=3))
def test_declarations(codes):
    try:
        gan = built(codes) if codes else InfoGAN(codes, (1, 8, 8), noise=2, networks=tiny)
        gan.train()
        train(gan, images(), steps=1, batch_size=5, device="cpu", progress=False)
        assert gan.generate(2).shape == (2, 1, 8, 8)
        assert len(gan.infer(images()[:2])) == len(codes)
    except InfoGANError:
        pass


def tried(gan):
    """A step of training, and what a user asks, of a declaration that was accepted."""
    gan.train()
    train(gan, images(), steps=1, batch_size=5, device="cpu", progress=False)
    assert gan.generate(2).shape == (2, 1, 8, 8)
    for posterior in gan.infer(images()[:2]).values():
        assert posterior.sample().isfinite().all()


chosen_families = st.sampled_from(
    [getattr(families, name) for name in families.__all__ if name not in ("Family", "Head")]
)


@cases(25)
@given(priors(), chosen_families | others | st.just(dist.Normal), st.booleans())
def test_posteriors(prior, family, on_tuple):
    posterior = {("u", "v"): family} if on_tuple else {"u": family}
    codes = {"u": prior, "v": dist.Normal(0.0, 1.0)}
    with suppress(InfoGANError):
        tried(InfoGAN(codes, (1, 8, 8), noise=2, networks=tiny, posterior=posterior))


@cases(25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["u", "v", "v", "digit", "noise", "images", ""]),
            priors(),
            st.sampled_from(["alone", "shifted", "observed", "plate", "deterministic", "maybe"]),
        ),
        max_size=3,
    ),
    others,
)
def test_programs(sites, value):
    """Sites of any name and prior: dependent, observed, in plates, random in number."""

    def program():
        last = torch.tensor(0.0)
        for name, prior, kind in sites:
            if kind == "plate":
                with pyro.plate("inner", 2):
                    last = pyro.sample(name, prior)
            elif kind == "deterministic":
                last = pyro.deterministic(name, last)
            elif kind == "shifted":
                last = pyro.sample(name, dist.Normal(last, 1.0))
            elif kind == "observed":
                last = pyro.sample(name, prior, obs=last)
            elif kind == "alone" or torch.rand(()) < 0.5:
                last = pyro.sample(name, prior)
        return value

    with suppress(InfoGANError):
        tried(InfoGAN(program, (1, 8, 8), noise=2, networks=tiny))


# Images and counts

sizes = st.sampled_from([-1, 0, 1, 3, 7, 8, 9, 12])
types = st.sampled_from([torch.uint8, torch.float32, torch.float64, torch.float16, torch.int32])


@cases(25)
@given(
    st.tuples(sizes, sizes, sizes) | st.lists(sizes, max_size=4) | others,
    st.tuples(st.sampled_from([0, 1, 5, 7]), st.sampled_from([1, 3]), sizes, sizes) | st.none(),
    types,
    st.sampled_from([1, 2, 3, 5, 7, 8]) | others,
    st.sampled_from([0, 1, 2]),
)
def test_shapes_types_and_counts(shape, given_shape, dtype, batch_size, steps):
    try:
        gan = built(shape=shape)
        wanted = given_shape if given_shape and min(given_shape) >= 0 else (7, *gan.image_shape)
        drawn = torch.zeros(wanted, dtype=dtype)
        gan.train()
        found = train(gan, drawn, steps, batch_size, device="cpu", progress=False)
        assert [line["step"] for line in found] == [steps]
    except InfoGANError:
        pass


# Checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("saved") / "gan.pt"
    InfoGAN(small_codes(), (1, 8, 8), noise=2, networks=tiny).save(path)
    return path


def test_a_flipped_byte_is_refused_wherever_it_is(saved, tmp_path):
    whole = saved.read_bytes()
    chance = random.Random(2)
    ends = [*range(40), *range(len(whole) - 120, len(whole))]
    places = ends + [chance.randrange(len(whole)) for _ in range(3_000 if SOAK else 150)]
    path = tmp_path / "flipped.pt"
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(RunError):
            runs.read(path)


def test_a_file_of_the_first_format_is_still_read(tmp_path):
    torch.save({"format": 1, "weights": torch.arange(5)}, tmp_path / "old.pt")
    assert runs.read(tmp_path / "old.pt")["weights"].tolist() == [0, 1, 2, 3, 4]
    whole = bytearray((tmp_path / "old.pt").read_bytes())
    place = whole.index(struct.pack("<5q", 0, 1, 2, 3, 4))
    whole[place] ^= 1
    (tmp_path / "old.pt").write_bytes(whole)
    with pytest.raises(RunError, match="cannot be read"):
        runs.read(tmp_path / "old.pt")


@cases(30)
@given(st.binary(max_size=300), st.booleans())
@example(b"PK\x03\x04", False)
@example(b"\x80\x02.", False)
def test_random_bytes_as_a_checkpoint(tmp_path_factory, content, summed):
    path = tmp_path_factory.getbasetemp() / "random.pt"
    if summed:
        runs.replace(path, lambda file: seal(file, content))
    else:
        path.write_bytes(content)
    with pytest.raises(RunError):
        InfoGAN.load(path)


def seal(file, content):
    """Bytes with the right checksum behind them: what someone who means harm can make."""
    summed = runs._Summed(file)
    summed.write(content)
    file.write(b"\npyro_infogan sha256 %s\n" % summed.digest.hexdigest().encode())


def archive(pickled, data=b"", compressed=False):
    """A file as torch.save writes it, of any pickle."""
    out = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", how) as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/byteorder", "little")
        file.writestr("a/data/0", data)
        file.writestr("a/version", "3\n")
    return out.getvalue()


def refused(path, content, says):
    runs.replace(path, lambda file: seal(file, content))
    with pytest.raises(RunError, match=says):
        runs.read(path)


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    content = archive(b"\x80\x02}.", bytes(50_000_000), compressed=True)
    assert len(content) < 100_000
    refused(tmp_path / "bomb.pt", content, "unpacks to more")


def test_a_pickle_may_ask_for_nothing_but_data(tmp_path):
    asks = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R."
    refused(tmp_path / "asks.pt", archive(asks), "bytearray")
    refused(tmp_path / "runs.pt", archive(b"\x80\x02cos\nmkdir\nX\x01\x00\x00\x00x\x85R."), "mkdir")
    assert not os.path.exists("x")


def test_a_tensor_may_not_claim_more_than_its_record(tmp_path):
    out = io.BytesIO()
    torch.save({"format": 2, "weights": torch.zeros(4)}, out)
    with zipfile.ZipFile(out) as file:
        pickled = file.read("archive/data.pkl")
    # Both the storage's length, in the pickle's one-byte numbers, and the tensor's.
    assert pickled.count(b"K\x04") == 2
    claims = pickled.replace(b"K\x04", b"\x8a\x06\x00\x00\x00\x00\x00\x01")
    refused(tmp_path / "claims.pt", archive(claims, bytes(16)), "cannot be read")


def test_an_archive_whose_records_share_their_bytes_is_refused(tmp_path):
    """One record, stored as it is, that nineteen entries name."""
    out = io.BytesIO()
    torch.save({"format": 2, "weights": torch.zeros(1_000)}, out)
    once = tmp_path / "once.pt"
    runs.replace(once, lambda file: seal(file, out.getvalue()))
    assert runs.read(once)["weights"].shape == (1_000,)
    with zipfile.ZipFile(out, "a") as file:
        whole = file.getinfo("archive/data/0")
        file.writestr("archive/data/1", b"")
        for place in range(2, 20):
            again = copy.copy(whole)
            again.filename = f"archive/data/{place}"
            file.filelist.append(again)
    assert len(out.getvalue()) < 18 * whole.file_size
    refused(tmp_path / "shared.pt", out.getvalue(), "unpacks to more")


def test_lists_that_hold_one_another_are_refused(tmp_path):
    laugh: list = ["ha"]
    for _ in range(40):
        laugh = [laugh] * 10
    torch.save({"format": 1, "declaration": laugh}, tmp_path / "laughs.pt")
    with pytest.raises(RunError, match="without end"):
        runs.read(tmp_path / "laughs.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d | {"image_shape": [1, 2_000_000, 2_000_000]},
        lambda d: d | {"noise": 10**15},
        lambda d: d | {"noise": 10**40},
        lambda d: d | {"noise": "many"},
        lambda d: d | {"codes": None},
        lambda d: d | {"codes": {"u": {"distribution": "Normal", "loc": [[]], "scale": "x"}}},
        lambda d: {},
        lambda d: None,
        lambda d: [d],
    ],
)
def test_a_declaration_that_the_weights_do_not_fill(change, tmp_path):
    gan = InfoGAN({"u": dist.Uniform(-1.0, 1.0)}, (1, 8, 8), noise=2)
    changed = gan.contents() | {"declaration": change(gan.declaration())}
    runs.write(tmp_path / "gan.pt", changed)
    with pytest.raises((RunError, DeclarationError)):
        InfoGAN.load(tmp_path / "gan.pt")
    with pytest.raises(RunError):
        gan.restore(tmp_path / "gan.pt")


@pytest.mark.parametrize("weights", [None, {}, {"generator.0.weight": 3}, [1]])
def test_weights_of_other_kinds(weights, tmp_path):
    gan = built()
    runs.write(tmp_path / "gan.pt", gan.contents() | {"weights": weights})
    with pytest.raises(RunError, match="weights"):
        gan.restore(tmp_path / "gan.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"optimisers": {}},
        {"optimisers": None},
        {"random": {"cpu": torch.zeros(3)}},
        {"log": {"sums": 3}},
        {"step": -1},
        {"step": "x"},
    ],
)
def test_a_state_of_another_make(change, tmp_path):
    def go(**more):
        torch.manual_seed(0)
        train(built(), images(), 2, 8, out=tmp_path, device="cpu", progress=False, **more)

    go()
    ((_, path),) = Run(tmp_path).checkpoints()
    contents = {key: value for key, value in runs.read(path).items() if key != "format"}
    runs.write(path, contents | change)
    with pytest.raises(RunError):
        go(resume=True)


# Other files


@cases(40)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["declaration", "settings", "data", "step", "experiment"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
@example(b"[" * 100_000)
def test_records_and_metrics(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "records"
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_bytes(content)
    (folder / "metrics.jsonl").write_bytes(content + b"\n" + content)
    run = Run(folder)
    for ask in (run.experiment, run.data, lambda: list(run.metrics()), lambda: run.forget_after(3)):
        with suppress(RunError):
            ask()


@cases(25)
@given(
    st.binary(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["format", "key", "arrays", "numbers", "shape", "dtype"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
def test_caches(tmp_path_factory, content, record):
    """A cache whose record or array is anything at all is made anew."""
    place = tmp_path_factory.getbasetemp() / "cache"

    def make(writer):
        writer.array("numbers", (4,), "u1")[:] = 7

    cached(place, {"set": 1}, make)
    (place / ("cache.json" if record else "numbers.npy")).write_bytes(content)
    assert cached(place, {"set": 1}, make)["numbers"].tolist() == [7] * 4


@cases(25)
@given(st.binary(max_size=80), st.sampled_from(["png", "gif", "jpg", "tif", "bmp"]), st.booleans())
def test_pictures(tmp_path_factory, content, kind, headed):
    heads = {"png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF89a", "jpg": b"\xff\xd8\xff", "bmp": b"BM"}
    path = tmp_path_factory.getbasetemp() / f"picture.{kind}"
    path.write_bytes((heads.get(kind, b"II*\0") if headed else b"") + content)
    with suppress(InfoGANError):
        assert read_image(path, (1, 8, 8)).shape == (1, 8, 8)


@cases(25)
@given(
    st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf8", "replace"))
)
@example(b"(" * 5_000)
@example(b"raise RecursionError")
@example(b"\0")
def test_experiment_files(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "experiment.py"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InfoGANError):
            load_file(path)


# Command lines

words = st.sampled_from(
    [
        *(
            "train",
            "evaluate",
            "figures",
            "sample",
            "infer",
            "reconstruct",
            "experiments",
            "--help",
        ),
        *("--steps", "--out", "--seed", "--resume", "--codes", "--count", "--device", "--data"),
        *(
            "--save-every",
            "--variation",
            "0",
            "-1",
            "1e3",
            "cpu",
            "meta",
            "x=1",
            "nowhere",
            "",
            ".",
        ),
        *("mnits", "nan", "-", "--", "own.py:x", "é", "\0", "a\nb", "9" * 5_000),
    ]
)


def called(typed):
    """Exit code of a command, 0 where it returns."""
    try:
        cli.main(typed)
    except SystemExit as stop:
        return stop.code or 0
    return 0


@cases(40)
@given(st.lists(words | st.text(max_size=5), max_size=6))
@example(["sample", "nowhere", "--out", "."])
@example(["infer", "nowhere", "\0"])
def test_command_lines(tmp_path_factory, typed):
    place = tmp_path_factory.getbasetemp() / "typed"
    place.mkdir(exist_ok=True)
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stderr(told), redirect_stdout(told):
        patched.chdir(place)
        code = called(typed)
    assert code in (0, 1, 2), typed
    assert "Traceback" not in told.getvalue()
    assert "internal error" not in told.getvalue(), told.getvalue()
    assert not list(place.iterdir())


def failing(error):
    def call(self):
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ZeroDivisionError("by zero"), 1, "internal error: ZeroDivisionError: by zero"),
        (OSError(errno.EIO, "disk"), 1, "--debug"),
        (KeyboardInterrupt(), 130, "stopped"),
        (
            Stopped("Stopped after step 3.", 15),
            143,
            "Stopped after step 3.\nTo go on: pyro-infogan train 'my mnist' --resume",
        ),
        (
            Stopped("Stopped after step 3.", 2),
            130,
            "Stopped after step 3.\nTo go on: pyro-infogan train 'my mnist' --resume",
        ),
    ],
)
def test_the_command_line_shows_no_traceback(error, code, says, monkeypatch, capsys):
    monkeypatch.setattr(cli.Train, "__call__", failing(error))
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "my mnist"])
    assert stop.value.code == code
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told
    if code == 1:
        with pytest.raises(type(error)):
            cli.main(["train", "my mnist", "--debug"])


# The watch

STEADY = {"step": 10, "d_real": 0.6, "d_fake": 0.4, "info/digit": 1.0}


def watched(*lines):
    gan = InfoGAN(small_codes(), (1, 8, 8), noise=2, networks=tiny)
    watch = Watch(gan, images())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for line in lines:
            watch.see(line)
    assert all(issubclass(each.category, TrainingWarning) for each in told)
    return [str(each.message) for each in told]


def test_steady_training_is_not_warned_of():
    low = STEADY | {"info/digit": 0.01}
    assert watched(*[STEADY] * 2 * LINES) == []
    assert watched(*[low] * 2 * LINES) == [], "it never rose"
    assert watched(STEADY, *[low] * (LINES - 1), STEADY, *[low] * (LINES - 1)) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"info/digit": 0.01}, "forgets the code"),
        ({"d_real": 0.999, "d_fake": 0.001}, "tells every image apart"),
        ({"d_real": 0.999, "d_fake": 0.999}, "stopped learning"),
        ({"d_real": 0.001, "d_fake": 0.001}, "stopped learning"),
    ],
)
def test_each_sign_is_told_once(change, says):
    (told,) = watched(STEADY, *[STEADY | change] * 3 * LINES)
    assert says in told
    assert "usually help" in told


def repeat(act, times):
    for _ in range(times):
        act()


def test_unused_categories_are_told():
    torch.manual_seed(0)
    gan = InfoGAN(small_codes(), (1, 8, 8), noise=2, networks=tiny)
    watch = Watch(gan, images())
    state = torch.get_rng_state()
    watch.look()
    head = gan.posterior.heads[0]
    with torch.no_grad():
        list(head.parameters())[-1].copy_(torch.tensor([0.0, -20.0, 0.0]))
    with pytest.warns(TrainingWarning, match=r"categories 1 of 'digit'") as told:
        repeat(watch.look, LOOKS + 3)
    assert len(told) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_errors_of_a_stop_survive_pickling():
    stop = pickle.loads(pickle.dumps(Stopped("text", 15)))
    assert (str(stop), stop.signal) == ("text", 15)
