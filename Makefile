# Two commands do everything on a machine that has Python, make and a package registry: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check bench lock picture docs clean

help:  ## What can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" scripts/setup "$(VENV)"
	@touch $(READY)

demo: $(READY)  ## Run a week of a simulated fleet, then open the console (ONCE=1: end with a summary and an exit code)
	@$(BIN)/ratchet demo $(if $(ONCE),--once) $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(READY) check  ## Every check and test; names what it skips and how to get it (RATCHET_REQUIRE=all: a skip fails)
	@PATH="$(CURDIR)/.cache/bin:$$PATH" $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: $(READY)  ## Style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(READY)  ## Measure verification and the pipeline; the last line is JSON
	@$(BIN)/python -m bench

lock: $(READY)  ## Resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 -o requirements.lock

picture: $(READY)  ## Write the picture of the pipeline into the README
	@$(BIN)/python scripts/picture README.md

docs: $(READY)  ## Write docs/configuration.md anew
	@$(BIN)/python -c 'from ratchet.app.configuration import markdown; print(markdown(), end="")' > docs/configuration.md

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
