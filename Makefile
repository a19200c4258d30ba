# Each target makes its own environment in .venv on a fresh machine and reuses it afterwards.
# Another interpreter: make PYTHON=python3.12 demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
JOBS ?= 2

# Golden tensors and real data are no part of the project; tests that need them skip where they are not.
ifneq ($(wildcard ../shared/goldens),)
export FUSELOOM_TEST_GOLDENS ?= $(abspath ../shared/goldens)
endif
ifneq ($(wildcard ../shared/data),)
export FUSELOOM_TEST_DATA ?= $(abspath ../shared/data)
endif

TYPED := beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
PYTEST := $(BIN)/pytest -n $(JOBS) --dist worksteal --cov --cov-report=term:skip-covered

.PHONY: help demo test test-all checks lint shapes bench bench-av-digits bench-calibration bench-data bench-dense bench-diagnose bench-digits bench-interactions bench-muse bench-muse-scenes bench-remedies bench-scenes bench-seg-scenes bench-views docs constraints clean

help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-18s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) is not installed. Try: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fuseloom needs Python 3.11 or newer, $(PYTHON) is older. Try: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; torch is large, the first time takes minutes."
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' # the first that knows --group
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]' --group dev
	@touch $@

demo: $(STAMP) ## Compare fusions on the embedded digits, then predict a few rows
	@$(BIN)/fuseloom compare --out runs/demo
	@echo
	@echo "The report: runs/demo/report.html"
	@echo "A few rows through the recommended model, fuseloom predict runs/demo runs/demo-rows.csv:"
	@$(BIN)/python examples/03_rows_to_predict.py runs/demo-rows.csv
	@$(BIN)/fuseloom predict runs/demo runs/demo-rows.csv

test: checks ## Everything but the slow tests: what CI runs
	@$(PYTEST) -m "not slow"

test-all: checks ## The same with the slow tests
	@$(PYTEST)

checks: $(STAMP) ## Lint, documentation and shapes, side by side
	@$(MAKE) --no-print-directory --output-sync=target -j $(JOBS) lint docs shapes

lint: $(STAMP) ## Format, style, types, layers, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

shapes: $(STAMP) ## Tests of tensor functions and parts with their shape annotations checked
	@$(BIN)/pytest -q -m "not compile and not slow" "--jaxtyping-packages=fuseloom.nn,$(TYPED)" \
	  tests/nn tests/merge tests/exchange
	@$(BIN)/pytest -q -m "not compile and not slow" "--jaxtyping-packages=fuseloom.losses,$(TYPED)" tests/losses

bench: $(STAMP) ## How far each part is from its floor, into docs/measured.md
	@$(BIN)/python benchmarks/merge.py --compile
	@$(BIN)/python benchmarks/exchange.py --compile --clock thread
	@$(BIN)/python benchmarks/pages.py

bench-av-digits: $(STAMP) ## What fusing gains on noisy digits, seen and heard
	@$(BIN)/python benchmarks/av_digits.py "$(FUSELOOM_TEST_DATA)/av-digits" \
	  --json benchmarks/results/av_digits.json

bench-calibration: $(STAMP) ## How often compare finds a gain that is not there, or misses one that is
	@$(BIN)/python benchmarks/calibration.py --json benchmarks/results/calibration.json

bench-data: $(STAMP) ## What compare finds on real data, in the folder that FUSELOOM_TEST_DATA names
	@$(BIN)/python benchmarks/real_data.py "$(FUSELOOM_TEST_DATA)" --json benchmarks/results/real_data.json

bench-dense: $(STAMP) ## What two-stream networks for dense prediction cost, beside two networks of one stream each
	@$(BIN)/python benchmarks/dense.py --compiled b0
	@$(BIN)/python benchmarks/pages.py

bench-diagnose: $(STAMP) ## What EMAP and the information decomposition cost, beside the plain formulations
	@$(BIN)/python benchmarks/diagnose.py --json benchmarks/results/diagnose.json
	@$(BIN)/python benchmarks/diagnose_pid.py --json benchmarks/results/diagnose_pid.json

bench-digits: $(STAMP) ## How long a comparison of every fusion takes, start to end, three times
	@$(BIN)/python benchmarks/digits.py

bench-muse: $(STAMP) ## What MuSE costs whole, and its CRF, captioner and PixelCNN++, beside the plain formulations
	@$(BIN)/python benchmarks/crf.py --json benchmarks/results/crf.json
	@$(BIN)/python benchmarks/captioner.py --json benchmarks/results/captioner.json
	@$(BIN)/python benchmarks/pixelcnn.py --json benchmarks/results/pixelcnn.json
	@$(BIN)/python benchmarks/muse.py --json benchmarks/results/muse.json
	@$(BIN)/python benchmarks/muse_profile.py --batch 4
	@$(BIN)/python benchmarks/pages.py

bench-muse-scenes: $(STAMP) ## What MuSE reaches on generated scenes, and what its parts are worth; three hours
	@for table in ner ablations msa_ablations msa; do $(BIN)/python benchmarks/muse_scenes.py $$table --workers 2 || exit; done
	@$(BIN)/python benchmarks/pages.py

bench-interactions: $(STAMP) ## Which merges find information that only both modalities together hold
	@$(BIN)/python benchmarks/interactions.py --set interactions-synergy --seeds 2 \
	  --json benchmarks/results/interactions.json

bench-remedies: $(STAMP) ## What remedies for neglected modalities do, and what they cost; two hours
	@$(BIN)/python benchmarks/cooperation.py
	@$(BIN)/python benchmarks/remedies.py imbalanced
	@$(BIN)/python benchmarks/remedies.py av-digits --folder "$(FUSELOOM_TEST_DATA)/av-digits"
	@$(BIN)/python benchmarks/pages.py

bench-seg-scenes: $(STAMP) ## Does fusing pay at pixels, and how; three hours
	@for table in labels normals rgb; do $(BIN)/python benchmarks/seg_scenes.py $$table --workers 2 || exit 1; done
	@$(BIN)/python benchmarks/pages.py

bench-scenes: $(STAMP) ## Whether shortcuts tell the labels of the generated sets, and how fast these are written
	@$(BIN)/python benchmarks/scenes_audit.py
	@$(BIN)/python benchmarks/scenes_speed.py
	@$(BIN)/python benchmarks/pages.py

bench-views: $(STAMP) ## Which methods see how two views pair, which no pooled summary tells
	@$(BIN)/python benchmarks/two_view.py

docs: $(STAMP) ## The documentation, into site/
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/mkdocs build --strict --quiet
	@echo "The documentation: site/index.html"

constraints: ## Rewrite constraints.txt from what is installed
	@{ grep '^#' constraints.txt; $(BIN)/pip freeze --exclude-editable; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove what these targets made, the environment excepted
	@rm -rf site build dist runs/demo runs/demo-rows.csv
	@rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
