# make demo     set up, then run the main job on free data (SEED=, FRAMES=, OUT=; MASKS=maskrcnn
#               trains a Mask R-CNN first and refines from its masks; DATA=pose2sim refines a
#               person on real photographs, which it downloads with the detector: 90 MB)
# make check    set up, then run linters and quick tests: two minutes
# make test     set up, then run linters and all tests
# make docs     set up, then build the site into docs/_build/html; warnings are errors
# make fuzz     set up, then put randomly changed files before every loader (CASES=, SEED=)
# make kills    set up, then kill jobs at each write and at random, and resume them (KILLS=, SEED=)
# make bench    set up, then time mmjrr against alternatives (BENCH=): ten minutes
# make results  set up, then repeat the runs of docs/results.md (RESULTS=): an hour
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 0
FRAMES ?= 16
MASKS ?= rendered
DATA ?= synthetic
OUT ?= work_dirs/demo$(if $(filter-out rendered,$(MASKS)),_$(MASKS))$(if $(filter pose2sim,$(DATA)),_pose2sim)
BENCH ?= work_dirs/benchmarks
# Folder with a wheel of mmcv and its compiled operators; mmcv-lite serves where none fits.
WHEELS ?= ../shared/wheels
CASES ?= 20000
KILLS ?= 100
RESULTS ?= work_dirs/results
CONFIGS := configs/refinement/contour_100it_synthetic

.PHONY: demo check quick test docs fuzz kills bench results lint lint-others types env clean

demo: $(VENV)/.quickstart $(if $(filter maskrcnn,$(MASKS)),$(VENV)/.segmentation)
ifeq ($(DATA),pose2sim)
	$(BIN)/python tools/demo_pose2sim.py --out $(OUT)
else ifeq ($(DATA),synthetic)
	$(BIN)/python tools/demo.py --seed $(SEED) --frames-per-subject $(FRAMES) --masks $(MASKS) --out $(OUT)
else
	@echo 'DATA=$(DATA): expected synthetic or pose2sim' >&2; exit 1
endif

# Tests run in as many processes as there are cores, at most four, of one thread each. A file's tests
# stay together, and share what its fixtures make.
PYTEST = OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 \
    $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: lint
	$(PYTEST)

fuzz: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py --cases $(CASES) --seed $(SEED)

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -b html -E -W --keep-going -q docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

kills: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python tests/kills.py --random $(KILLS) --seed $(SEED)

# Lint and tests run side by side.
check: $(VENV)/.tests
	$(MAKE) --no-print-directory -j3 types lint-others quick

quick: $(VENV)/.tests
	$(PYTEST) -q -m 'not slow'

bench: $(VENV)/.benchmarks
	PYTHONPATH=$(VENV)/benchmarks $(BIN)/python tools/benchmarks/small.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/silhouette.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/body.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/refinement.py --out $(BENCH) --batches 16 64
	$(BIN)/python tools/benchmarks/gradient_quality.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/solver.py --out $(BENCH) --small 50
	$(BIN)/python tools/benchmarks/evaluation.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/memory.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/json_reader.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/linear.py --out $(BENCH)
	$(BIN)/python tools/benchmarks/busy.py --out $(BENCH) --rounds 1 --threads-of-torch 1 2 4
	$(BIN)/python tools/benchmarks/startup.py --out $(BENCH)
	if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
	    PYTHON=$(BIN)/python bash tools/benchmarks/gpu.sh --out $(BENCH); \
	fi
	$(BIN)/python tools/benchmarks/report.py $(BENCH)

# Finished runs are kept: delete $(RESULTS) to repeat them.
results: $(foreach seed,0 1 2 3 4,$(RESULTS)/four_views_$(seed)/summary.json) \
    $(foreach seed,0 1 2 3 4,$(RESULTS)/uncertainty/four_views_$(seed).json) \
    $(foreach seed,0 1 2 3 4,$(RESULTS)/seed_$(seed)/summary.json) \
    $(foreach seed,0 1 2 3 4,$(RESULTS)/authors_$(seed)/summary.json) \
    $(foreach seed,0 1 2 3 4,$(RESULTS)/equal_terms_$(seed)/summary.json) \
    $(RESULTS)/without_discriminator/summary.json $(RESULTS)/without_silhouette/summary.json \
    $(RESULTS)/mask_rcnn/summary.json $(RESULTS)/synthetic_h36m/fits/meva_like_test.npz
	$(MAKE) bench BENCH=$(RESULTS)/benchmarks
	$(BIN)/python tools/analysis_tools/which_mpjpe.py $(RESULTS)/synthetic_h36m --out $(RESULTS)/benchmarks
	$(BIN)/python tools/analysis_tools/result_pages.py collect $(RESULTS)
	$(BIN)/python tools/analysis_tools/result_pages.py write

$(RESULTS)/synthetic_h36m/fits/meva_like_test.npz: | $(VENV)/.quickstart
	$(BIN)/python tools/dataset_converters/make_synthetic_h36m.py --out $(RESULTS)/synthetic_h36m

$(RESULTS)/four_views_%/summary.json: | $(VENV)/.quickstart
	$(BIN)/python tools/demo.py --seed $* --out $(@D)

$(RESULTS)/uncertainty/four_views_%.json: $(RESULTS)/four_views_%/summary.json
	$(BIN)/python tools/analysis_tools/regressor_uncertainty.py $(<D)/data $(<D)/refinement --out $@

$(RESULTS)/seed_%/summary.json: | $(VENV)/.quickstart
	$(BIN)/python tools/demo.py --config $(CONFIGS).py --seed $* --out $(@D)

$(RESULTS)/authors_%/summary.json: | $(VENV)/.quickstart
	$(BIN)/python tools/demo.py --config $(CONFIGS)_authors.py --seed $* --out $(@D)

$(RESULTS)/equal_terms_%/summary.json: | $(VENV)/.quickstart
	$(BIN)/python tools/demo.py --config $(CONFIGS)_equal-terms.py --seed $* --out $(@D)

$(RESULTS)/without_%/summary.json: | $(VENV)/.quickstart
	$(BIN)/python tools/demo.py --config $(CONFIGS)_wo-$*.py --out $(@D)

$(RESULTS)/mask_rcnn/summary.json: | $(VENV)/.segmentation
	$(BIN)/python tools/demo.py --config $(CONFIGS).py --masks maskrcnn --out $(@D)

lint: lint-others types

lint-others: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell

types: $(VENV)/.tests
	$(BIN)/mypy mmjrr

env: $(VENV)/.tests

$(VENV)/.quickstart: requirements/quickstart.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 10) <= sys.version_info[:2] <= (3, 13) else "mmjrr: Python %d.%d found, 3.10 to 3.13 needed; try make PYTHON=python3.11" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Set-up: PyTorch and what the demo needs: about 3 GB to download, 5.3 GB on disk'
	$(BIN)/python -m pip install -q --upgrade "pip<26" "setuptools<81" wheel
	$(BIN)/python -m pip install -q -r requirements/quickstart.txt
	$(BIN)/python -m pip install -q --no-deps mmengine==0.10.7
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.benchmarks: $(VENV)/.quickstart requirements/benchmarks.txt
	@echo 'Set-up: pytest-benchmark: 2 MB on disk'
	$(BIN)/python -m pip install -q --upgrade --no-deps --target $(VENV)/benchmarks -r requirements/benchmarks.txt
	touch $@

$(VENV)/.tests: $(VENV)/.mmpose requirements/tests.txt requirements/anny.txt
	@echo 'Set-up: linters, test tools, Anny: 0.5 GB on disk'
	$(BIN)/python -m pip install -q -r requirements/tests.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements/anny.txt
	touch $@

$(VENV)/.docs: $(VENV)/.segmentation requirements/docs.txt
	@echo 'Set-up: Sphinx and notebooks: 0.2 GB on disk'
	$(BIN)/python -m pip install -q -r requirements/docs.txt
	touch $@

$(VENV)/.mmpose: $(VENV)/.segmentation requirements/mmpose.txt
	@echo 'Set-up: MMPose: 10 MB on disk'
	$(BIN)/python -m pip install -q --no-deps -r requirements/mmpose.txt
	BIN=$(BIN) WHEELS=$(WHEELS) bash requirements/compiled_mmcv.sh
	touch $@

$(VENV)/.segmentation: $(VENV)/.quickstart requirements/segmentation.txt
	@echo 'Set-up: torchvision, mmcv, mmdet: 40 MB on disk'
	$(BIN)/python -m pip install -q --no-deps -r requirements/segmentation.txt
	touch $@

clean:
	rm -rf $(VENV) work_dirs .pytest_cache .mypy_cache .ruff_cache
