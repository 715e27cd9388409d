# Two commands: `make demo` and `make test`. Both set up the pinned environment in .venv first.
PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread per process: two jobs side by side are faster than one job with two threads.
export OMP_NUM_THREADS ?= 1
# Snakemake writes a cache below HOME, which clusters and containers may not allow.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/.snakemake/cache
endif

.PHONY: demo test test-slow test-rebuild test-slurm test-real bench-scorer bench-context bench-readout bench-folding bench-training bench-memory bench-analysis lint format docs envs setup help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(READY)  ## create the environment in .venv

$(READY): envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name one with make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -r envs/requirements.txt -c envs/constraints.txt
	@touch $@

demo: $(READY)  ## run the demo study and print its headline table
	@PATH="$(CURDIR)/$(BIN):$$PATH" python .ci/progress.py snakemake --quiet host reason
	@cat results/demo/summary.txt

test: $(READY)  ## unit and workflow tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m "not slow and not gpu and not slurm and not real"

test-slow: $(READY)  ## the long checks
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m "slow and not gpu and not slurm and not real and not rebuild"

test-rebuild: $(READY)  ## train an embedded model anew and compare it, after an edit of its recipe
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -m rebuild tests/slow

test-slurm: $(READY)  ## the study on a SLURM that it starts on this machine
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -m slurm tests/cluster

test-real: $(READY)  ## scores and training of two pretrained models, beside other programs
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m real

bench-scorer: $(READY)  ## the scorer beside transformers and lm-eval; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_scorer $(ARGS)

bench-context: $(READY)  ## rows behind contexts of up to 32,000 tokens; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_context $(ARGS)

bench-readout: $(READY)  ## what float32 logits cost a 16-bit model; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_readout $(ARGS)

bench-folding: $(READY)  ## what folding adapters into the weights saves; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_folding $(ARGS)

bench-training: $(READY)  ## training beside transformers' Trainer; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_training $(ARGS)

bench-memory: $(READY)  ## memory of training, predicted and measured; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_memory $(ARGS)

bench-analysis: $(READY)  ## metrics and statistics at the paper's size; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_analysis $(ARGS)

lint: $(READY)  ## formatters, linters, dry runs of every target
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/lint

format: $(READY)  ## format Python and Snakemake files
	@PATH="$(CURDIR)/$(BIN):$$PATH" ruff format scripts tests .ci
	@PATH="$(CURDIR)/$(BIN):$$PATH" ruff check --fix scripts tests .ci
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakefmt --line-length 100 Snakefile rules

docs: $(READY)  ## write config/REFERENCE.md from the schemas
	@PYTHONPATH=scripts $(BIN)/python .ci/reference.py > config/REFERENCE.md.new && mv config/REFERENCE.md.new config/REFERENCE.md

envs: $(READY)  ## write envs/fairshot.yaml from the pins of pip
	@PYTHONPATH=scripts $(BIN)/python .ci/environments.py > envs/fairshot.yaml.new && mv envs/fairshot.yaml.new envs/fairshot.yaml
