# SPDX-License-Identifier: Apache-2.0
# The commands people use. `make` shows them.
BUILD ?= build

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: ## install what this machine lacks (Debian; asks for sudo when needed)
	@scripts/setup

build: setup ## release binaries under build/
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD)

.PHONY: help setup build
