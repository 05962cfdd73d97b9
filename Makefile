# Everything a person or CI does here: setup · demo · test · gcloud · survive · simulate · check · bench · lock. Python 3.11+ and make are all it takes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MODELS := build/models
# uv takes a tenth of pip's time and knows overrides; where pip is told to look for wheels, it looks too.
FIND_LINKS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
INSTALL := VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet $(addprefix --find-links ,$(FIND_LINKS)) -c requirements.txt
# Each unit that is deployed alone: its extra, and where its lock lies.
UNITS := functions:functions preprocess:services/preprocess gpu-inference:services/gpu_inference postprocess:services/postprocess worker:worker

.DEFAULT_GOAL := help
.PHONY: help setup model demo test unit gcloud survive simulate check format bench lock clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(INSTALL) -e '.[local,test,dev]'
	touch $@

setup: $(STAMP) model ## Install everything into .venv and build the default model.

model: $(STAMP)
	$(BIN)/python -m models.build --out $(MODELS)
	$(BIN)/zeroidle models add $(MODELS)/sentiment-minilm/1 --if-missing

demo: setup ## Run the file pipeline on the examples, whole, on this machine.
	$(BIN)/zeroidle run examples/reviews.jsonl examples/products.csv examples/letter.txt examples/sign.png

test: setup ## Run all tests, a file at a time on each of up to four cores (about ten minutes on two).
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

unit: setup ## Run the quick tests only.
	$(BIN)/python -m pytest -q -m 'not e2e and not slow'

gcloud: setup ## Run every test of the local cloud through gcloud, where it is installed (two minutes).
	GCLOUD_TESTS=all $(BIN)/python -m pytest -q -k gcloud tests/localcloud

survive: setup ## Kill the local cloud under load N times (200) and check that everything acknowledged is there.
	SURVIVAL_ROUNDS=$(or $(N),200) $(BIN)/python -m pytest -q tests/localcloud/test_survival.py

simulate: $(STAMP) ## Play N histories (10000) of jobs on machines from SEED (0) on; a failing one is shrunk.
	$(BIN)/python -m tests.simulation.simulate --histories $(or $(N),10000) --seed $(or $(SEED),0)

check: $(STAMP) ## Lint, types, import rules, and whether generated files are current.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m zeroidle.contracts.schemas --check docs/schemas

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Print each figure beside its peer, measured in the same run (about 15 minutes).
	$(INSTALL) -e '.[local,test,dev,bench]'
	$(BIN)/python -m benchmarks

lock: $(STAMP) ## Compile the lock of every deploy unit from pyproject.toml.
	$(foreach unit,$(UNITS),$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --extra $(firstword $(subst :, ,$(unit))) pyproject.toml \
		-o $(lastword $(subst :, ,$(unit)))/requirements.txt &&) true
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock' \
		--extra local --extra test --extra dev --extra bench pyproject.toml -o requirements.txt

clean: ## Remove the environment, the built model and the local state.
	rm -rf $(VENV) build .zeroidle
