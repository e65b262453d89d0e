# `make demo` and `make test` each work as the first command after a clone: they make .venv first.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
ROOMS := concept_atlas flows explorer tasks study storage diffusion sae vision concepts figures miniature

LONGER := tests/benchmarks/test_full_size.py tests/diffusion/test_folders.py tests/flows/test_environment.py \
	tests/flows/test_interrupts.py tests/miniature/test_world.py tests/sae/test_step.py tests/sae/test_training.py \
	tests/study/test_identity.py tests/study/test_verify.py tests/system/test_wrong_inputs.py tests/test_infrastructure.py \
	tests/vision/test_transformers_backend.py

.PHONY: demo test test-fast test-faults coverage test-lowest test-compose lint compose clean

demo: .venv/ready
	$(BIN)/concepts run configs/mini.yaml --root runs/mini
	$(BIN)/concepts status runs/mini
	$(BIN)/concepts export-site runs/mini runs/mini/site --replace
	@echo "look at it in a browser: $(BIN)/concepts explore runs/mini, or open runs/mini/site/index.html"
	@echo "pictures: runs/mini/figures    tables: $(BIN)/concepts query runs/mini \"select * from concepts limit 5\""

test: .venv/ready
	$(BIN)/python -m pytest

# The inner loop. It leaves out the tests marked `system` (those of whole studies, real servers, workers and clusters: most
# of tests/system), those marked `slow` (whole trainings, kills, every harm to every file), and the modules in LONGER,
# whose many tests load models or start Python each time. Two processes: more would import torch for too little.
test-fast: .venv/ready
	$(BIN)/python -m pytest -n 2 -m "not system and not slow and not faults" $(LONGER:%=--ignore=%)

# What may die of a study, with real runs, servers, workers, databases and disks. Two files at a time: each test has its own
# and waits for it. Some need PostgreSQL, Redis or a C compiler, and say how to get them where they are missing.
test-faults: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m faults --timeout 1200 -rs $(ONLY)

# Lines and branches that the tests run, those of the processes they start included (what is killed leaves no count).
# First the share of each room, then every file; it takes about twice the time of `make test`.
coverage: .venv/ready
	$(BIN)/coverage erase
	$(BIN)/python -m pytest --cov --cov-report= --timeout 1200
	@for room in $(ROOMS); do printf '%-14s %s %%\n' $$room $$($(BIN)/coverage report --format=total --include="$$room/*"); done
	$(BIN)/coverage report

# The lowest versions that pyproject.toml allows, in an environment of their own: tables, stores and a whole tiny study.
test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python -m pytest tests/storage tests/study/test_config.py tests/system/test_commands.py

# Builds the image and starts every service of docker-compose.yml, so it needs a Docker engine.
test-compose: .venv/ready
	TEST_COMPOSE=1 $(BIN)/python -m pytest -n 0 tests/system/test_compose.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

# The commit is recorded in every study that the containers make, and its files belong to who runs this; as root, to
# ATLAS_UID and ATLAS_GID of .env.
compose:
	mkdir -p data models runs
	@if [ "$$(id -u)" != 0 ]; then export ATLAS_UID=$$(id -u) ATLAS_GID=$$(id -g); fi; \
	GIT_SHA=$$(git rev-parse HEAD) docker compose up --build --detach --wait

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or run make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,server]'
	touch .venv/ready

.venv-lowest/ready: pyproject.toml constraints-lowest.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or run make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --constraint constraints-lowest.txt --editable '.[dev]'
	touch .venv-lowest/ready

clean:
	rm -rf .venv .venv-lowest
