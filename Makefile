# SPDX-License-Identifier: Apache-2.0
# The commands people use. `make` alone shows them.
BUILD ?= build
export PYTHONDONTWRITEBYTECODE = 1

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

build: setup ## release binaries under build/
	@scripts/build $(BUILD)

demo: build ## a teacher and a student through the real server, with curl; no network needed
	@scripts/demo $(BUILD)

# RUN_ARGS: more options for retortd
run: build ## the server on http://127.0.0.1:8080, with its data in ./data
	@$(BUILD)/server/retortd --data data --models-root examples --worker $(BUILD)/worker/retort-worker $(RUN_ARGS)

test: setup-test ## unit, parity and integration tests; ends with a line of counts
	@scripts/test $(BUILD)

# handle_segv=2: libtorch's own handler must not hide ours. The small quarantine keeps the tests that watch memory meaningful.
test-asan: setup-test ## the same under AddressSanitizer and UBSan, in build-asan/
	@ASAN_OPTIONS=handle_segv=2:allocator_may_return_null=1:quarantine_size_mb=8 TEST_FACTOR=10 \
		MESON_ARGS="--buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false" scripts/test build-asan

test-real: build ## the real job of ../shared, three seeds, beside the Hugging Face Trainer's figures (7 minutes)
	@tests/real/run_clinc.py --build $(BUILD)

# PEER_ARGS: see tests/peer/run_peer.py --help
test-peer: build ## our checkpoints in transformers and theirs here, for every family; needs root and ../shared/peer/setup (4 minutes)
	@tests/peer/run_peer.py --build $(BUILD) --configs 60 $(PEER_ARGS)
# FAULTS: how many; SEED: of all that is drawn
FAULTS ?= 500
SEED ?= 1
faults: setup-test build ## kills, full disks, power cuts, jumping clocks: nothing is lost (FAULTS=500 SEED=1; 10 minutes)
	@tests/faults/faults.py --build $(BUILD) --faults $(FAULTS) --seed $(SEED)

faults-planted: setup-test ## the same suite must find four bugs that are planted on purpose
	@tests/faults/planted.py

# BENCH_ARGS: see bench/run --help
bench: build ## shares of the machine's peak, jobs beside the Hugging Face Trainer, neighbours, the server (half an hour)
	@bench/run --build $(BUILD) $(BENCH_ARGS)

# FUZZ_SECONDS: of CPU for each target; FUZZ_JOBS: how many at a time; FUZZ_ARGS: names of targets, and see scripts/fuzz --help
fuzz: setup-dev ## every reader of strangers' files under libFuzzer, ASan and UBSan; half an hour of CPU for each
	@scripts/fuzz $(if $(FUZZ_SECONDS),--seconds $(FUZZ_SECONDS)) $(if $(FUZZ_JOBS),--jobs $(FUZZ_JOBS)) $(FUZZ_ARGS)

bench-web: setup-test build ## what the dashboard loads, its list with 10,000 jobs, 50 jobs that talk ten times a second
	@node bench/web.mjs $(BUILD)

check: setup-dev ## format, spelling, and a build without warnings by gcc and by clang
	@scripts/check

format: setup-dev ## clang-format for all C and C++ files
	@git ls-files '*.c' '*.h' '*.cpp' ':!worker/text/unicode_tables.c' | xargs clang-format -i

setup: ## install what this machine lacks (Debian; asks for sudo when needed)
	@scripts/setup

setup-test:
	@scripts/setup --test

setup-dev:
	@scripts/setup --test --dev

clean: ## remove what was built
	rm -rf $(BUILD) build-asan build-check build-fuzz

.PHONY: help build demo run test test-asan test-real faults faults-planted test-peer bench fuzz check format setup setup-test setup-dev clean
