# Everything starts here: `make run` and `make test` need a bare machine and nothing else.
SITE ?= parameters/lab.yml
LAB := $(if $(findstring varied,$(SITE)),--varied)
CUTS ?= 200
SEED ?= 1
VENV := .venv/bin

.PHONY: help run test check lint lab chaos soak bench format schema docs rehearsal lock down clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: lab  ## from nothing to a verified edge in the lab
	$(VENV)/runbook run $(SITE)

test: lint lab  ## from nothing to all tests green
	$(VENV)/pytest -n auto tests/unit tests/process tests/lab tests/browser

check: lint  ## format, lint, types, unit tests; no lab
	$(VENV)/pytest --quiet tests/unit

lint: .venv/.tests  ## format, lint, strict types
	$(VENV)/ruff format --check --quiet .
	$(VENV)/ruff check --quiet .
	$(VENV)/mypy

lab: .venv/.made-from  ## boot the lab of the site, or heal it
	$(VENV)/runbook lab up $(LAB)

soak: .venv/.tests  ## provoke races on one connection, a thousand rounds
	$(VENV)/python benchmarks/soak.py

bench: lab  ## measure whole runs; prints medians
	$(VENV)/python benchmarks/runs.py

chaos: .venv/.tests  ## cut runs on the varied lab at every boundary; CUTS=200 SEED=1
	$(VENV)/runbook lab up --varied
	PYTHONPATH=.:tests:tests/lab $(VENV)/python -m chaos --cuts $(CUTS) --seed $(SEED)

format: .venv/.made-from  ## format and fix what can be fixed
	$(VENV)/ruff format --quiet .
	$(VENV)/ruff check --fix --quiet .

schema: .venv/.made-from  ## write the JSON Schemas of site files and records
	$(VENV)/runbook site schema > parameters/site.schema.json
	$(VENV)/python scripts/schemas.py

docs: .venv/.tests  ## draw page and picture of the rehearsal that is kept in docs/
	PYTHONPATH=.:tests $(VENV)/python -m rehearsal

rehearsal: lab  ## keep another run on the lab in docs/, without the names of this machine
	$(VENV)/runbook lab reset
	rm -rf .rehearsal
	unshare --map-root-user --uts sh -c 'hostname workstation && exec env -u RUNBOOK_KEY LOGNAME=operator \
	  $(VENV)/runbook run parameters/lab.yml --records .rehearsal'
	$(VENV)/runbook records export docs/rehearsal.zip --archive .rehearsal
	$(MAKE) docs

lock: .venv/.made-from  ## resolve the lock file anew, with hashes and without addresses
	$(VENV)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade pyproject.toml \
	  --output-file requirements.lock

down:  ## remove the labs and stop the engine that they started
	@[ ! -x $(VENV)/runbook ] || { for lab in varied3 varied2 varied; do $(VENV)/runbook lab down --name $$lab; done; $(VENV)/runbook lab down --engine; }

clean: down  ## also remove the environment and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache

.venv/.made-from: requirements.lock pyproject.toml
	@scripts/setup

.venv/.tests: .venv/.made-from
	@scripts/setup --tests && touch $@
