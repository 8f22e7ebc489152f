# `make up` and `make test` set up all they need on a Debian with Rust and Node, and say in one line what
# is missing elsewhere.
.DEFAULT_GOAL := help
SHELL := /bin/bash
WEB := dashboards/web
CORRIDOR := target/release/corridor
MINUTES ?= 2
WORLDS ?= 1
PROFILE ?= release
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
.PHONY: help up demo build web test lint fmt bench bench-relay lab soak deaths degrade fuzz accuracy clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

up: build ## build everything and run controller, one edge and one agent here
	$(CORRIDOR) up

demo: build ## a world that goes wrong on schedule, with the page open on it
	$(CORRIDOR) demo

build: web ## the release binary, with the page inside
	cargo build --release --locked

web: $(WEB)/dist/index.html ## the page

$(WEB)/node_modules: $(WEB)/package-lock.json
	.ci/setup build
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB)/dist/index.html: $(WEB)/node_modules $(shell find $(WEB)/src $(WEB)/index.html $(WEB)/vite.config.ts 2>/dev/null)
	cd $(WEB) && npm run build

lint: web ## formatting, clippy, types of the page
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cd $(WEB) && npm run check

test: ## the gate: unit, API, simulation, page, lab in its short form
	.ci/setup test
	$(MAKE) lint
ifdef NEXTEST
	cargo nextest run --cargo-profile gate --workspace --locked -E 'not binary(lab)'
	cargo nextest run --cargo-profile gate --workspace --locked --run-ignored only -E 'binary(sim)'
else
	cargo test --profile gate --workspace --locked --lib --bins
	cargo test --profile gate --workspace --locked --exclude corridor --tests
	cargo test --profile gate --workspace --locked --test api --test wire
	cargo test --profile gate --workspace --locked --test sim -- --include-ignored
endif
	cargo test --profile gate --workspace --locked --doc
	cd $(WEB) && npm test
	node --test --test-concurrency=1 --test-reporter=spec tests/web/pages.mjs
	CORRIDOR=target/gate/corridor tests/web/real.sh
	$(MAKE) lab PROFILE=gate WORLDS=2

lab: ## the lab alone: the release build's processes in network namespaces (root); WORLDS=2 at once
	.ci/setup test
	cargo build --profile $(PROFILE) --workspace --bins --test lab --locked
	CORRIDOR_WORLDS=$(WORLDS) cargo test --profile $(PROFILE) --workspace --locked --test lab -- --test-threads=$(WORLDS) --nocapture

soak: ## the long scenarios; the lab's faults over and over (root; ROUNDS=10)
	.ci/setup test
	cargo test --profile gate --workspace --locked --test sim -- --ignored --nocapture
	tests/lab/soak $(or $(ROUNDS),10)

fuzz: ## every parser of foreign bytes (nightly, cargo-fuzz); MINUTES=10 each; the table goes to docs/fuzzing.md
	fuzz/soak $(MINUTES) $(TARGETS)

deaths: ## edges die under media, and machines move, over and over (root; ROUNDS=20, PARTS=off-20)
	.ci/setup test
	tests/lab/deaths $(or $(ROUNDS),20) $(PARTS)

degrade: ## ways that turn bad under media, over and over (root; ROUNDS=20); the table goes to docs/bench
	.ci/setup test
	tests/lab/degrade $(or $(ROUNDS),20)

bench: build ## what the agent takes of this machine (root); MINUTES=10 for long; tables go to docs/bench
	cargo build --release --locked -p corridor-agent-footprint
	@mkdir -p docs/bench
	target/release/agent_footprint --minutes $(MINUTES) --out docs/bench/agent-footprint.md

bench-relay: web ## what an edge takes to relay a packet, beside coturn, bare quinn and plain UDP (root; ROUNDS=3); tables go to docs/bench
	.ci/setup relay
	cargo build --profile $(PROFILE) --locked --bins -p corridor -p corridor-relay-bench
	@mkdir -p docs/bench
	target/$(PROFILE)/corridor_relay --rounds $(or $(ROUNDS),3) --out docs/bench/relay.md

accuracy: web ## how near corridor probe, irtt and fping come to the truth (root); SHORT=1; tables go to docs/accuracy
	.ci/setup test
	cargo build --profile $(PROFILE) --locked --bins -p corridor -p corridor-netem -p corridor-accuracy
	target/$(PROFILE)/corridor_accuracy $(if $(SHORT),--short,--out docs/accuracy)

clean:
	cargo clean
	rm -rf $(WEB)/dist $(WEB)/node_modules
