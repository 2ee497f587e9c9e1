# `make demo` and `make test` do all the set-up on a fresh machine, in the project's own environment .venv.
# Without internet: `make test WHEELHOUSE=folder` (docs/offline.md). Other pip settings: PIP_FLAGS='...'.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed
EXTRAS := test
# Two workers fit two cores and 4 GiB; each loads TensorFlow once. A file's tests stay together, so they share fixtures.
TEST_WORKERS ?= 2
# Slow tests start processes of their own: with less than 8 GiB, SLOW_WORKERS=1.
SLOW_WORKERS ?= 2
# Seconds of the fuzz run in `make test-slow`; ten minutes: make test-slow FUZZ_SECONDS=600. FUZZ_SEED is another run.
FUZZ_SECONDS ?= 40
FUZZ_SEED ?= 19
# Training runs that `make test-slow` kills, each at a random moment, and half as many steps of the whole chain again,
# at least one of each; twenty and thirty: make test-slow KILLS=20.
KILLS ?= 6
# Which PyTorch `make test-extras` installs; name a CPU build where the default brings CUDA: TORCH='torch==2.13.0'.
TORCH ?= torch
WHEELHOUSE ?=
PIP_FLAGS ?=
ifneq ($(WHEELHOUSE),)
PIP_FLAGS += --no-index --find-links=$(abspath $(WHEELHOUSE))
endif

# pip would compile what it installs with one core; of the extras the tests load a part, which is then compiled.
INSTALL = $(RUN) -m pip install --quiet --no-compile $(PIP_FLAGS)
COMPILE = $(RUN) -m compileall -qq -j 0 $(VENV)/lib || true  # some packages hold files that no Python 3 can read

# Tests read their own bytecode again, in each process and in the next call, whatever the shell says of writing it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-slow test-extras mutation lint wheelhouse clean
.DELETE_ON_ERROR:

help:
	@echo "make demo       the whole path on a generated cohort, in checkpoints/demo"
	@echo "make test       the quick tests: each room's main paths and what takes little; some five minutes on two cores"
	@echo "make test-slow  kill loops, many processes, larger cohorts, further cases; under forty minutes"
	@echo "make test-extras  what needs the extras ([torch], [onnx], [spark], ...), which it installs"
	@echo "make mutation   single-line changes of the core rooms, each against its room's tests; hours, resumable"
	@echo "make lint       style"
	@echo "make wheelhouse WHEELHOUSE=folder   collects every package, for a machine without internet"
	@echo "make clean      removes .venv, caches and checkpoints/demo"

setup: $(STAMP)

# Redone when setup.py changes; the stamp appears only when the installation ended well.
$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
	  echo "error: expected Python 3.11 to 3.13, received $$($(PYTHON) --version 2>&1 | head -n 1); name another one with make PYTHON=..." >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --editable '.[$(EXTRAS)]'
	@$(COMPILE)
	@touch $@

wheelhouse:
	@test -n "$(WHEELHOUSE)" || { echo "error: expected a folder: make wheelhouse WHEELHOUSE=folder" >&2; exit 1; }
	$(PYTHON) -m pip wheel --wheel-dir=$(WHEELHOUSE) 'setuptools>=64' wheel '.[$(EXTRAS)]'

DEMO := checkpoints/demo
DEMO_PATIENTS ?= 4000
DEMO_EPOCHS ?= 5

demo: $(STAMP)
	$(RUN) preprocessing/make_synthetic_cohort.py --output_prefix=$(DEMO)/raw --num_patients=$(DEMO_PATIENTS)
	$(RUN) preprocessing/preprocess_pretrain_data.py $(DEMO)/raw.csv NA $(DEMO)/cohort 0 \
	  --prediction_times=$(DEMO)/raw.prediction_times.csv --min_code_count=$$(( $(DEMO_PATIENTS) * 7 / 1000 ))
	set -e; for split in train valid test; do \
	  $(RUN) preprocessing/create_BERTpretrain_EHRfeatures.py --input_file=$(DEMO)/cohort.bencs.$$split \
	    --output_file=$(DEMO)/cohort.$$split.tfrecord --vocab_file=$(DEMO)/cohort.types; \
	done
	$(RUN) run_scripts/run_toppretraining.py --do_train --do_eval --output_dir=$(DEMO)/run \
	  --bert_config_file=medtop/configs/small.json --input_file=$(DEMO)/cohort.train.tfrecord \
	  --valid_file=$(DEMO)/cohort.valid.tfrecord --test_file=$(DEMO)/cohort.test.tfrecord \
	  --true_risk_file=$(DEMO)/raw.true_risk.csv --num_train_epochs=$(DEMO_EPOCHS) \
	  --learning_rate=1.5e-3 --weight_decay=1 --task_weights=masked_lm:0.1,long_stay:0.2
	@if $(RUN) -c 'import torch, safetensors' 2>/dev/null; then \
	  $(RUN) run_scripts/convert_tf_to_pytorch.py --run_dir=$(DEMO)/run --output_dir=$(DEMO)/export \
	    --layout=medtop --overwrite; \
	else \
	  echo "export to PyTorch: $(RUN) -m pip install '.[torch]' &&" \
	    "$(RUN) run_scripts/convert_tf_to_pytorch.py --run_dir=$(DEMO)/run --output_dir=$(DEMO)/export --layout=medtop"; \
	fi

test: $(STAMP)
	$(RUN) -m pytest -m "not slow" --numprocesses=$(TEST_WORKERS) --dist=loadfile --no-loadscope-reorder

test-slow: $(STAMP)
	FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$(FUZZ_SEED) KILLS=$(KILLS) $(RUN) -m pytest -m slow --numprocesses=$(SLOW_WORKERS) --dist=loadfile --no-loadscope-reorder

test-extras: $(STAMP)
	$(INSTALL) '$(TORCH)'
	$(INSTALL) --editable '.[$(EXTRAS),torch,onnx,entities,xgboost,spark,database,test-extras]'
	$(INSTALL) 'setuptools<81' 'setuptools_scm<9' wheel  # what seqeval is built with
	$(INSTALL) --no-build-isolation 'seqeval>=1.2.2,<2'
	$(RUN) -m pytest --numprocesses=$(TEST_WORKERS) --dist=loadfile tests/convert tests/text/test_notes_tokens.py tests/serve/test_onnx.py \
	  tests/entities tests/reporting/test_pages_in_browser.py \
	  tests/serve/test_serving_docs.py tests/house/test_deploy.py tests/evaluation/test_clinical_peers.py \
	  tests/evaluation/test_meds_files.py tests/evaluation/test_baselines.py::test_xgboost_is_its_own_with_the_settings_that_validation_chose tests/runs/test_wide_run.py \
	  tests/runs/test_head_runs.py::test_exports_agree_with_keras tests/sources/test_warehouse_sql.py tests/sources/test_database.py tests/serve/test_served_code_map.py tests/cohort/test_spark.py

# Not in CI. ROOM=splits,labels runs some of it; a second call goes on where the first one stopped (docs/mutation.md).
mutation: $(STAMP)
	nice -n 19 $(RUN) benchmarks/mutation.py $(if $(ROOM),--room=$(ROOM))
	$(RUN) benchmarks/mutation.py --table

lint: $(STAMP)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build medtop.egg-info checkpoints/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
