# The front door: `make help` lists what there is. CI runs `make ci` and nothing else.
#
# Needed on the machine: a Rust toolchain, Python >= 3.9, a C compiler, make and perl (the last two
# for the vendored OpenSSL); fuzzing also needs a C++ compiler. Python tools are installed into
# `.venv`, never into the system.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter that runs and is new enough, unless PYTHON names one.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 \
	python3.9 python; do $$python -c 'import sys; sys.exit(sys.version_info < (3, 9))' \
	2>/dev/null && { echo $$python; break; }; done)
PYTHON := $(PYTHON)

CARGO ?= cargo
# The committed lockfile decides; empty it while changing dependencies.
LOCKED ?= --locked

# How many writers `make crash` kills; the test run kills 30.
CRASH_CYCLES ?= 1000

# Lines of a store that `make load` loads, dumps and loads again.
LOAD_LINES ?= 1000000

# How often `make stress` and `make stress-python` run each file of tests in each way, and what else
# they are told: see tools/stress.py.
STRESS_RUNS ?= 20
STRESS_FLAGS ?=

# How many faults `make chaos` makes, and what else it is told: see tools/chaos.py.
CHAOS_FAULTS ?= 100
CHAOS_FLAGS ?=

# How long `make fuzz` stays with each target, in seconds.
FUZZ_SECONDS ?= 30
# Where its random numbers begin; 0 is somewhere else each time.
FUZZ_SEED ?= 0

VENV := .venv
ABI3_VENV := .venv-abi3
# Of `make dist` and `make release-check`, and of `make docs`: what they need meets no test.
DIST_VENV := .venv-dist
DOCS_VENV := .venv-docs
# Interpreters for which `make dist` makes a wheel each, beside the abi3 one: "python3.12 python3.13".
DIST_PYTHONS ?=
# Everything that ends up in a wheel. A change to any of it rebuilds both wheels.
WHEEL_SOURCES := Cargo.toml Cargo.lock .cargo/config.toml tools/openssl-perl README.md LICENSE-APACHE LICENSE-MIT $(shell find crates \
	python -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi' \
	-o -name 'py.typed' \) -not -path '*/tests/*' -not -path '*/target/*' 2>/dev/null)
MATURIN_BUILD = $(VENV)/bin/python -m maturin build --quiet --release $(LOCKED) \
	-m python/Cargo.toml -i $(VENV)/bin/python
# Warnings of our tests' own Python are errors; see python/pyproject.toml.
PYTEST_FLAGS ?=
# Test files that run at a time. Most tests wait for something most of the time.
PYTEST_JOBS ?= 4
# Rust tests that run at a time within one file of them.
TEST_THREADS ?= 6
# Each file in a process of its own, the largest first, its report in one piece. A selection that
# leaves nothing of a file (exit code 5) is no failure.
define PYTEST
@ls -S python/tests/test_*.py | xargs -P $(PYTEST_JOBS) -n 1 sh -c ' \
		report=$$($(1)/bin/python -m pytest -q --no-header $(PYTEST_FLAGS) "$$1" 2>&1); code=$$?; \
		printf "%s: %s\n" "$$1" "$$report"; [ $$code -eq 0 ] || [ $$code -eq 5 ]' sh
endef

# Examples that people copy from; the others show the package at work.
TYPED_EXAMPLES := $(filter-out examples/demo% examples/zeek_replay.py examples/zeek_zeromq_replay.py \
	examples/outside_files.py,$(wildcard examples/*.py))

# Which worlds `make sim` runs: of data stores, and of replicas of a store on a stream.
SIM_SEEDS ?= 10000
SIM_REPLICA_SEEDS ?= 1000000
SIM_FROM ?= 0
SIM_THREADS ?= $(shell nproc 2>/dev/null || echo 1)
POLICY_SEEDS ?= 1000000

FUZZ_TARGETS := value frame inbound handshake routing_update json zeek_message log_record websocket \
	websocket_client command store_operations store_stream recording zmtp zmtp_curve \
	zmtp_proxy zmtp_forwarder log_batch nats policy
# As many targets run at a time as there are processors.
FUZZ_JOBS ?= $(shell nproc 2>/dev/null || echo 1)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# libFuzzer's coverage instrumentation, spelled out so that a stable toolchain can do it.
FUZZ_RUSTFLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
	-Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

# --- Everyday ------------------------------------------------------------------------------------

.PHONY: build test lint fmt doc demo
build: ## compile the Rust crates (debug)
	$(CARGO) build $(LOCKED)

test: test-rust test-python test-abi3 stubs ## every test: Rust, Python on both wheels, stubs

lint: $(VENV)/.tools ## clippy over all targets and every feature set, warnings are errors
	PYO3_PYTHON=$(abspath $(VENV)/bin/python) \
		$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	@# The wheel for every CPython: what the stable ABI does not have is found before that wheel is built.
	PYO3_PYTHON=$(abspath $(VENV)/bin/python) \
		$(CARGO) clippy $(LOCKED) --workspace --features broker-python/abi3 -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker-data --all-targets --features serde -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker-zeek --all-targets --features serde -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features tls -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features sqlite -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features serde -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features http -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features zeromq -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features nats -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features status -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features log -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker --no-default-features --features policy -- -D warnings
	$(CARGO) clippy $(LOCKED) -p broker-cli --all-targets --no-default-features -- -D warnings
	@# The fuzz targets have a lock file of their own, which dependencies of the crates change, too.
	$(CARGO) metadata $(LOCKED) --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

fmt: ## format the Rust code
	$(CARGO) fmt --all

doc: ## build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --workspace \
		--exclude broker-python --exclude broker-bench --exclude xtask
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps -p broker -p broker-zeek --features serde

demo: $(VENV)/.wheel ## build, install into .venv and run the demonstration
	$(VENV)/bin/python examples/demo.py

.PHONY: demo-cluster
demo-cluster: $(VENV)/.wheel ## three NATS servers on this machine: durable topics, last values, a store whose leader is killed
	$(VENV)/bin/python tools/demo_cluster.py

# --- Tests, one kind at a time -------------------------------------------------------------------

.PHONY: test-rust test-python test-abi3 stubs vectors smoke loom
test-rust: ## Rust unit, vector and doc tests, with all features and with none
	RUST_TEST_THREADS=$(TEST_THREADS) \
		$(CARGO) test $(LOCKED) --workspace --exclude broker-python --all-features
	RUST_TEST_THREADS=$(TEST_THREADS) \
		$(CARGO) test $(LOCKED) -p broker --no-default-features --lib --tests
	$(CARGO) run $(LOCKED) --quiet -p broker --all-features --example models

test-python: $(VENV)/.wheel ## Python tests on the wheel for this interpreter
	$(call PYTEST,$(VENV))

test-abi3: $(ABI3_VENV)/.wheel ## the same tests on the abi3 wheel
	$(call PYTEST,$(ABI3_VENV))

stubs: $(VENV)/.wheel $(VENV)/.type-tools ## type stubs against the built module, types of the package and of examples
	$(VENV)/bin/python -m mypy.stubtest broker
	cd python && $(abspath $(VENV)/bin/python) -m mypy
	$(VENV)/bin/python -m mypy --config-file python/pyproject.toml $(TYPED_EXAMPLES)
	$(VENV)/bin/python -m mypy --strict python/tests/programs/typed_twins.py
	@# Beside the package: it would know its modules by two names otherwise.
	cd python && $(abspath $(VENV)/bin/pyright) --pythonpath $(abspath $(VENV)/bin/python) broker/_client \
		broker/aio.py broker/sync.py broker/testing.py tests/programs/typed_twins.py

loom: ## models of the mailbox: every interleaving of a few threads
	$(CARGO) run $(LOCKED) --quiet -p broker --all-features --example models

vectors: ## golden bytes and recorded sessions only
	$(CARGO) test $(LOCKED) -p broker-data --test vectors
	$(CARGO) test $(LOCKED) -p broker-proto --tests

smoke: dist/cpython/.built ## install the wheel into an empty environment, look at its size, peer once
	rm -rf target/smoke-venv
	$(PYTHON) -m venv target/smoke-venv
	target/smoke-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index \
		dist/cpython/*.whl
	cd target/smoke-venv && bin/python $(abspath tools/smoke.py) $(abspath dist/cpython)/*.whl

# --- Wheels --------------------------------------------------------------------------------------

.PHONY: py wheel wheel-cpython wheel-abi3
py: $(VENV)/.wheel ## build the package and install it into .venv

wheel: wheel-cpython wheel-abi3 ## build both wheels: this interpreter's and abi3
	@ls dist/cpython/*.whl dist/abi3/*.whl

wheel-cpython: dist/cpython/.built

wheel-abi3: dist/abi3/.built

dist/cpython/.built: $(WHEEL_SOURCES) $(VENV)/.tools
	rm -rf dist/cpython
	$(MATURIN_BUILD) --out dist/cpython
	touch $@

dist/abi3/.built: $(WHEEL_SOURCES) $(VENV)/.tools
	rm -rf dist/abi3
	$(MATURIN_BUILD) --features abi3 --out dist/abi3
	touch $@

$(VENV)/.wheel: dist/cpython/.built
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--force-reinstall dist/cpython/*.whl
	touch $@

$(ABI3_VENV)/.wheel: dist/abi3/.built $(ABI3_VENV)/.tools
	$(ABI3_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--force-reinstall dist/abi3/*.whl
	touch $@

$(VENV)/.tools $(ABI3_VENV)/.tools: tools/requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.9 or newer found: install one, or name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(@D) || { echo "cannot create $(@D): Python's venv module is needed (Debian: python3-venv)" >&2; exit 1; }
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/.type-tools: tools/requirements-types.txt $(VENV)/.tools
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/.bench-tools: tools/requirements-bench.txt $(VENV)/.tools
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(DIST_VENV)/.tools: tools/requirements-dist.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.PHONY: abi3-others sdist dist dist-check
abi3-others: dist/abi3/.built $(ABI3_VENV)/.tools ## the abi3 wheel in every CPython on the machine, 3.9 to 3.14
	$(ABI3_VENV)/bin/python tools/try_abi3.py dist/abi3/*.whl

sdist: $(VENV)/.tools ## the source distribution with all crates inside, and whether they are found there
	$(VENV)/bin/python tools/dist.py --sdist target/sdist
	$(VENV)/bin/python tools/check_dist.py --crates target/sdist

dist: $(DIST_VENV)/.tools ## all that a release has, in dist/release: wheels for old glibc, sdist, SBOM, checksums
	$(DIST_VENV)/bin/python tools/dist.py $(addprefix --python=,$(DIST_PYTHONS))
	$(DIST_VENV)/bin/python tools/check_dist.py

dist-check: $(DIST_VENV)/.tools ## check what `make dist` made; its sdist is built and installed without network
	$(DIST_VENV)/bin/python tools/check_dist.py --sdist

$(DOCS_VENV)/.tools: tools/requirements-docs.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The package itself, for its docstrings.
$(DOCS_VENV)/.wheel: dist/cpython/.built $(DOCS_VENV)/.tools
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--force-reinstall dist/cpython/*.whl
	touch $@

.PHONY: docs docs-tools
docs-tools: $(DOCS_VENV)/.tools

docs: $(DOCS_VENV)/.wheel ## the site of the documentation into target/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --quiet --strict

.PHONY: release-check
release-check: ## versions, changelog, crates, dist/release: what has to be true before publishing; UNRELEASED=1: no date yet
	$(if $(wildcard dist/release),$(MAKE) --no-print-directory $(DIST_VENV)/.tools)
	$(if $(wildcard dist/release),$(DIST_VENV)/bin/python,$(PYTHON)) tools/release_check.py $(if $(UNRELEASED),--unreleased)

# --- Slower checks -------------------------------------------------------------------------------

.PHONY: sim sim-build
sim: ## simulate SIM_SEEDS (default 10000) clusters of data stores, SIM_REPLICA_SEEDS (default 1000000) of replicas from SIM_FROM on, and 10000 schedules of policies
	$(CARGO) run $(LOCKED) --quiet --profile sim -p broker-sim -- --seeds $(SIM_SEEDS) --from $(SIM_FROM) --threads $(SIM_THREADS)
	$(CARGO) run $(LOCKED) --quiet --profile sim -p broker-sim -- --gateway --seeds 10000 --from $(SIM_FROM) --threads $(SIM_THREADS)
	$(CARGO) run $(LOCKED) --quiet --profile sim -p broker-sim -- --replicas --seeds $(SIM_REPLICA_SEEDS) --from $(SIM_FROM) --threads $(SIM_THREADS)

.PHONY: sim-policy
sim-policy: ## simulate POLICY_SEEDS (default 1000000) schedules of endpoints with policies from SIM_FROM on
	$(CARGO) run $(LOCKED) --quiet --profile sim -p broker-sim -- --gateway --seeds $(POLICY_SEEDS) --from $(SIM_FROM) --threads $(SIM_THREADS)

sim-build:
	$(CARGO) build $(LOCKED) --quiet --profile sim -p broker-sim

.PHONY: chaos
chaos: $(VENV)/.wheel ## stores on real NATS servers under CHAOS_FAULTS (default 100) faults, and whether what clients saw is right
	$(VENV)/bin/python tools/chaos.py --faults $(CHAOS_FAULTS) $(CHAOS_FLAGS)

.PHONY: stress stress-python
stress: ## repeat the Rust tests STRESS_RUNS (default 20) times on a busy machine, and say which of them failed how often
	$(PYTHON) tools/stress.py --runs $(STRESS_RUNS) $(STRESS_FLAGS)

stress-python: $(VENV)/.wheel ## the same with the Python tests
	$(VENV)/bin/python tools/stress.py --runs $(STRESS_RUNS) $(STRESS_FLAGS) python/tests/test_*.py

.PHONY: fuzz fuzz-build bench crash load
fuzz: fuzz-build ## fuzz each target for FUZZ_SECONDS (default 30) on its kept corpus
	@printf '%s\n' $(FUZZ_TARGETS) | xargs -P $(FUZZ_JOBS) -I NAME sh -c '\
		echo "fuzz NAME for $(FUZZ_SECONDS) s"; \
		mkdir -p fuzz/target/corpus/NAME fuzz/artifacts/NAME; \
		fuzz/target/$(HOST)/release/NAME -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
			-rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=fuzz/artifacts/NAME/ \
			fuzz/target/corpus/NAME fuzz/corpus/NAME'

fuzz-build:
	@command -v $${CXX:-c++} >/dev/null || { echo "make fuzz needs a C++ compiler (libFuzzer is C++): install one, for example g++, or name it with CXX=..." >&2; exit 1; }
	RUSTFLAGS="$(FUZZ_RUSTFLAGS)" $(CARGO) build $(LOCKED) --quiet --release --target $(HOST) \
		--manifest-path fuzz/Cargo.toml --target-dir fuzz/target

crash: ## kill writers of SQLite stores CRASH_CYCLES (default 1000) times; nothing may be lost
	BROKER_CRASH_CYCLES=$(CRASH_CYCLES) $(CARGO) test $(LOCKED) -p broker --test sqlite \
		crash:: -- --nocapture

load: ## load and dump LOAD_LINES (default 1000000) lines with `broker store`; the test run does 20000
	BROKER_LOAD_LINES=$(LOAD_LINES) $(CARGO) test $(LOCKED) -p broker-cli --test command \
		a_long_load -- --nocapture

bench: $(VENV)/.wheel $(VENV)/.bench-tools ## benchmarks, end to end and micro; see bench/README.md
	$(CARGO) build $(LOCKED) --release -p broker-bench -p broker-cli --features broker-bench/metrics
	$(VENV)/bin/python bench/command.py
	$(VENV)/bin/python bench/zeromq.py
	$(VENV)/bin/python bench/comparison.py
	$(VENV)/bin/python bench/aio.py
	$(VENV)/bin/python bench/bridge.py
	$(VENV)/bin/python bench/run.py --json bench/results/latest.tmp
	$(CARGO) bench $(LOCKED) -p broker-bench --bench micro --bench sqlite

.PHONY: bench-zeromq bench-aio bench-bridge
bench-bridge: $(VENV)/.wheel $(VENV)/.bench-tools ## what a bridge between native peers and servers of NATS carries, and adds
	$(VENV)/bin/python bench/bridge.py

bench-aio: $(VENV)/.wheel $(VENV)/.bench-tools ## receiving and round trips on an event loop beside blocking ones
	$(VENV)/bin/python bench/aio.py

bench-zeromq: $(VENV)/.wheel $(VENV)/.bench-tools ## a member of a ZeroMQ cluster beside pyzmq with msgpack
	$(VENV)/bin/python bench/zeromq.py

.PHONY: bench-comparison
bench-comparison: $(VENV)/.wheel $(VENV)/.bench-tools ## the same program with this package, nats-py, eclipse-zenoh, zeekpy
	$(VENV)/bin/python bench/comparison.py

.PHONY: bench-growth bench-smoke bench-smoke-baseline
bench-growth: $(VENV)/.bench-tools ## what a message costs beside peers, topics, keys: curves and memory
	$(CARGO) build $(LOCKED) --release -p broker-bench --bin broker-counted
	$(VENV)/bin/python bench/growth.py

bench-smoke: $(VENV)/.wheel ## fail if instructions per message rose by a tenth; see bench/README.md
	$(CARGO) run --quiet $(LOCKED) -p xtask -- bench-smoke

bench-smoke-baseline: $(VENV)/.wheel ## make the present instruction counts the new baseline
	$(CARGO) run --quiet $(LOCKED) -p xtask -- bench-smoke --rewrite

# --- Repository ----------------------------------------------------------------------------------

.PHONY: tidy adr-index fmt-check ci clean
tidy: ## dependency direction, source rules, links, citations, decision records
	$(CARGO) run --quiet $(LOCKED) -p xtask -- tidy

adr-index: ## write the index of the decision records anew
	$(CARGO) run --quiet $(LOCKED) -p xtask -- adr-index

fmt-check: ## fail if the Rust code is not formatted
	$(CARGO) fmt --all --check

# What changes from one build to the next is worth keeping in pieces where somebody builds again and again.
ci: export CARGO_INCREMENTAL ?= 0
ci: ## what guards the main branch: everything above but bench, bench-growth and stress, timed
	$(CARGO) run --quiet $(LOCKED) -p xtask -- ci

clean: ## remove everything that was built or installed
	rm -rf dist $(VENV) $(ABI3_VENV) $(DIST_VENV) $(DOCS_VENV) fuzz/target fuzz/artifacts
	$(CARGO) clean
