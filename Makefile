PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install mnist test docs bench soak wheel oldest figure1 seeds clean

install: $(INSTALLED)

# One command for torch and torchvision, whose builds must match.
$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check torch torchvision --editable '.[test]'
	touch $@

## Train the paper's MNIST experiment into runs/mnist, measure it and draw its figures.
mnist: $(INSTALLED)
	$(BIN)/pyro-infogan train mnist --out runs/mnist --resume
	$(BIN)/pyro-infogan evaluate runs/mnist
	$(BIN)/pyro-infogan figures runs/mnist

## Lint, types, doctests and tests.
test: $(INSTALLED)
	$(BIN)/ruff format --check pyro_infogan tests examples benchmarks docs/conf.py
	$(BIN)/ruff check pyro_infogan tests examples benchmarks docs/conf.py
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report=term

## The documentation, into docs/_build/html; a warning is an error.
docs: $(INSTALLED)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going docs docs/_build/html

## Speed beside a textbook's and the machine's limit; a few minutes on an idle machine.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/speed.py

## 200 kills of one run, and thousands of generated cases of declarations, files and command lines.
soak: $(INSTALLED)
	SOAK=1 $(BIN)/python -m pytest tests/test_robustness.py tests/test_hostile.py -s \
	  -o faulthandler_timeout=1200

## Build the wheel, install it into an empty environment outside the checkout, and train there.
wheel: $(INSTALLED)
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	empty=$$(mktemp -d) && trap 'rm -rf "$$empty"' EXIT && $(PYTHON) -m venv "$$empty/venv" \
	  && "$$empty/venv/bin/python" -m pip install --disable-pip-version-check --quiet build/wheel/*.whl \
	  && cd "$$empty" && venv/bin/pyro-infogan train mnist --steps 20 --out run

## The core of the tests, with the oldest versions that pyproject.toml allows and the registry has.
oldest:
	oldest=$$(mktemp -d) && trap 'rm -rf "$$oldest"' EXIT && $(PYTHON) -m venv "$$oldest/venv" \
	  && $(PYTHON) benchmarks/oldest.py > "$$oldest/constraints.txt" \
	  && "$$oldest/venv/bin/python" -m pip install --disable-pip-version-check --quiet \
	    --constraint "$$oldest/constraints.txt" --editable . pytest hypothesis \
	  && "$$oldest/venv/bin/python" -m pytest -p no:cacheprovider -W default -o addopts= \
	    tests/test_bound.py tests/test_codes.py tests/test_runs.py tests/test_training.py tests/test_cli.py

## Figure 1: the bound with InfoGAN, and with a plain GAN beside it.
figure1: $(INSTALLED)
	$(BIN)/pyro-infogan train mnist-digit --out runs/mnist-digit --resume
	$(BIN)/pyro-infogan train mnist-digit --plain-gan --out runs/mnist-digit-plain --resume
	$(BIN)/pyro-infogan figures runs/mnist-digit --baseline runs/mnist-digit-plain

## Five seeds of MNIST, as in RESULTS.md: two to three hours on 2 cores.
seeds: $(INSTALLED)
	$(BIN)/python benchmarks/seeds.py mnist
	$(BIN)/python benchmarks/seeds.py mnist-paper

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .coverage build *.egg-info docs/_build
