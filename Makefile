# Every target makes its own environment: a machine with Python 3.11 or newer, make and a package registry is enough.
# The tests start many processes: where no bytecode may be written, each compiles its libraries again, and
# `python -c "import lightning.pytorch"` takes 17 s instead of 7.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := .venv/.ready

.PHONY: demo test ci bytecode lint types slim extras extras-all devices format docs site bench wheels gpu-wheels gpu \
	gpu-rehearsal release pinned third-party fuzz clean

demo: $(READY)  ## the whole workflow on synthetic phantoms
	$(BIN)/ctonnx demo

# Three processes on two cores: a fifth of the time a test waits for other processes and for connections.
test: $(READY)  ## all tests
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

# Two at a time: mypy is one process, and the extras and the rehearsal wait for installations and for servers.
ci: $(READY)  ## what every change must pass
	$(MAKE) --jobs 2 types lint site bytecode
	$(MAKE) test
	$(MAKE) --jobs 2 extras gpu-rehearsal

# In a new .venv, each process of the tests would compile all that they import, the same at the same time.
bytecode: $(READY)
	-@$(BIN)/python -m pytest --collect-only --quiet >/dev/null # make test has the messages, if there are any

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m tests.words

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy tests release

slim: $(READY)  ## the wheel with [cpu] alone: its size, and that it runs without torch
	$(BIN)/python -m tests.slim_install

# `make extras WHEEL=dist/ctonnx-VERSION-py3-none-any.whl` checks that wheel, and not a new one of this checkout.
extras: $(READY)  ## each extra, and each set that README and docs name, in an environment of its own; slim is in it
	$(BIN)/python -m tests.extras $(if $(WHEEL),--wheel "$(WHEEL)")

extras-all: $(READY)  ## the large ones too: CUDA's libraries, large plugins, TensorBoard, [all]; downloads gigabytes
	$(BIN)/python -m tests.extras --all
	$(BIN)/python -m tests.devices

devices: $(READY)  ## for which systems, processors and Pythons the wheels exist; it downloads only metadata
	$(BIN)/python -m tests.devices

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY)  ## docs/reference/commands.md from the commands' own help
	$(BIN)/python docs/write_commands.py

site: $(READY)  ## the documentation as HTML in site/, with its links checked; it needs no network
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs site
	cp site/README.html site/index.html

bench: $(READY)  ## start-up times, overheads, the spinning threads and the server, on this machine
	$(BIN)/python -m ctonnx_bench.experiments.overheads.startup
	$(BIN)/python -m ctonnx_bench.experiments.overheads.predictor
	$(BIN)/python -m ctonnx_bench.experiments.overheads.harness
	$(BIN)/python -m ctonnx_bench.experiments.overheads.thread_spinning
	$(BIN)/python -m ctonnx_bench.experiments.serving.server

# On any Python with pip, without .venv: `make wheels DIR=offline EXTRAS=cpu,dicom OPTIONS="--python 3.12"`.
EXTRAS := cpu
COLLECT = PYTHONPATH="$(CURDIR)/runtime:$(CURDIR)/benchmarks:$(CURDIR)/offline" $(PYTHON) -m ctonnx_offline \
	"$(or $(DIR),$(error expected the new folder: make $@ DIR=...))"

wheels:  ## ctonnx for a machine without a network, in parts of 60 MB: docs/guide/offline.md
	$(COLLECT) --extras "$(EXTRAS)" $(OPTIONS)

gpu-wheels:  ## what the GPU kit needs on such a machine with PyTorch: docs/guide/gpu.md
	$(COLLECT) --gpu-kit $(OPTIONS)

# On the Python that has PyTorch for CUDA, without .venv: `make gpu WHEELS=wheels PYTHON=python3`.
gpu:  ## the GPU kit, at most 9 minutes: docs/guide/gpu.md
	PYTHONPATH="$(CURDIR)/runtime:$(CURDIR)/train:$(CURDIR)/export:$(CURDIR)/compress:$(CURDIR)/benchmarks" \
		$(PYTHON) -m ctonnx_bench.gpu $(if $(WHEELS),--wheels "$(WHEELS)") $(KIT)

gpu-rehearsal: $(READY)  ## every step of the GPU kit on the CPU, at small size, at most 4 minutes
	$(BIN)/python -m ctonnx_bench.gpu --rehearsal --output gpu-rehearsal

release: $(READY)  ## wheel, source archive, SBOM and containers' files of the last commit in dist/: docs/guide/releases.md
	$(BIN)/python -m release.build

pinned: $(READY)  ## docker/*/requirements.txt, the containers' packages with hashes, in the versions of constraints.txt
	$(BIN)/python -m release.pinned

third-party: $(READY)  ## THIRD_PARTY.md, the licenses of all packages
	$(BIN)/python -m release.third_party

# `make fuzz MINUTES=5`; what fails is in fuzz-failures/, with its error.
fuzz: $(READY)  ## damaged specs, models, images, bodies and databases: no error but the documented ones, an hour
	$(BIN)/python -m tests.fuzzing --minutes "$(or $(MINUTES),60)"

clean:
	rm -rf .venv site dist gpu-report gpu-rehearsal .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[cpu,train,export,compress,dicom,tiff,pacs,bench,serve,grpc,scale,sign]" --group dev --group docs
	touch $@
