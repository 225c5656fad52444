# Everything the project does, from a fresh machine: Python 3.11 to 3.13, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LLM_STAMP := $(VENV)/.llm
SPARK_STAMP := $(VENV)/.spark
PORT := 4200
REPORTS_PORT := 4201

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PREFECT_HOME := $(CURDIR)/.prefect
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# Read by the shell as they are, whatever quotes are in them.
export DATA NOTE

.DEFAULT_GOAL := help
.PHONY: help setup llm data repro test test-faults test-spark lint params flow daily backfill leaderboard search promote rollback reports ui ui-down bench lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv from the lock file (the other targets do it by themselves)

$(STAMP): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); watchline needs Python 3.11 to 3.13 (make PYTHON=python3.11 ...)" >&2; exit 1; }
	@echo "setting up $(VENV) from requirements/lock.txt (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

llm: $(LLM_STAMP)  ## add what recipes/llm_sft needs (data sets of the hub, lm-evaluation-harness)

$(LLM_STAMP): requirements/llm.txt $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/llm.txt
	@touch $@

data: setup  ## fetch a public dataset into data/raw (SOURCE=kuairand-pure, -1k, -27k or kuairec)
	@PYTHONPATH=src python -m watchline.data.download $(if $(SOURCE),$(SOURCE),--help)

repro: setup  ## run every stage whose inputs changed, then read reports/index.html
	@dvc repro
	@echo "open reports/index.html"

test: setup llm  ## run the tests, two at a time
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/spark -m "not faults and not nightly"

test-faults: setup  ## for the night: long tests, and the whole service whose processes are killed
	@OMP_NUM_THREADS=1 python -m pytest tests -m "faults or nightly" --timeout 1200

test-spark: $(SPARK_STAMP)  ## add Spark (needs Java 17 or 21) and test it against Polars, on this machine
	@OMP_NUM_THREADS=1 python -m pytest tests/spark --timeout 1200

$(SPARK_STAMP): requirements/spark.txt $(STAMP)
	@java -version 2>/dev/null || { echo "error: no java; Spark needs Java 17 or 21 (apt-get install default-jre-headless)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/spark.txt
	@touch $@

lint: setup  ## ruff on everything, mypy on the core
	@ruff check .
	@ruff format --check .
	@mypy

params: setup  ## compose params.yaml from conf/ (OVERRIDES="train.gr.width=128 ...")
	@python -m pipelines params $(OVERRIDES)

flow: setup  ## run the line once as a Prefect flow (OVERRIDES=...), no server needed
	@python -m pipelines run $(OVERRIDES)

daily: setup  ## advance the window to the newest complete day, run the line, ask the gate (OVERRIDES=...)
	@python -m pipelines daily $(OVERRIDES)

backfill: setup  ## daily for a range of days (FIRST=2024-03-08 LAST=2024-03-14 OVERRIDES=...), what is recorded is skipped
	@python -m pipelines backfill $(if $(FIRST),--first $(FIRST)) $(if $(LAST),--last $(LAST)) $(OVERRIDES)

leaderboard: setup  ## methods x seeds side by side (DATA=PATH PROTOCOL=name OVERRIDES=...); without DATA on generated data
	@python -m pipelines leaderboard $(if $(PROTOCOL),--protocol $(PROTOCOL)) $(if $(DATA),--data "$$DATA") $(if $(OVERRIDES),-S $(OVERRIDES))

search: setup  ## settings of every method on a protocol's validation days, frozen in conf/ (DATA=PATH PROTOCOL=name)
	@python -m pipelines search --keep $(if $(PROTOCOL),--protocol $(PROTOCOL)) $(if $(DATA),--data "$$DATA") $(if $(OVERRIDES),-S $(OVERRIDES))

reports: setup  ## all pages anew from the outputs that are there, with the commit and hashes of the run
	@PYTHONPATH=src python -m watchline.overview

promote: setup  ## judge a model against production by conf/promote.yaml, promote it if it passes (MODEL=name NOTE=text)
	@python -m pipelines promote $(MODEL) $(if $(NOTE),--note "$$NOTE")

rollback: setup  ## make the version before production again (NOTE=text)
	@python -m pipelines rollback $(if $(NOTE),--note "$$NOTE")

ui: setup  ## Prefect server, worker, scheduled deployments, report server on 127.0.0.1, until Ctrl-C or `make ui-down`
	@python -m pipelines ui --port $(PORT) --reports-port $(REPORTS_PORT)

ui-down:  ## stop what `make ui` started
	@python -m pipelines ui-down

bench: setup  ## measure GR and HD-PiSSA against plain references (two cores, ten minutes)
	@python benchmarks/gr.py
	@python benchmarks/data.py
	@python benchmarks/hd_pissa.py

lock: setup  ## compile lock.txt, llm.txt and spark.txt of requirements/ anew from their .in files (needs uv)
	@uv pip compile requirements/default.in --universal --python-version 3.11 --excludes requirements/exclude.txt \
		--no-emit-index-url --no-annotate --no-header --quiet --output-file requirements/lock.txt
	@for extra in llm spark; do uv pip compile requirements/$$extra.in --constraints requirements/lock.txt --universal \
		--python-version 3.11 --excludes requirements/exclude.txt --no-emit-index-url --no-annotate --no-header --quiet \
		--output-file requirements/$$extra.txt || exit 1; done

clean:  ## remove .venv, caches and local state: outputs stay in DVC's cache; logs, searches, checkpoints in runs/ go
	@$(PYTHON) pipelines/idle.py
	@rm -rf $(VENV) .prefect runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.dvc/*' -prune -exec rm -rf {} +
