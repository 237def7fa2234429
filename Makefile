# Every target that needs packages installs those that are missing, by apt, and says so.
# `make test` is what CI runs; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO := cargo --locked

.PHONY: help test test-long demo weft-cni bench fmt lint doc deny unit sim lab fuzz-replay clean-lab packages

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

test: packages ## Everything: formatting, lints, docs, unit, property, simulation, lab, foreign peers
	@./.ci/test

test-long: packages ## Long simulations: more seeds
	WEFT_SEEDS=2000 $(CARGO) test --release -p weft-tests --test sim
	WEFT_SEEDS=20000 $(CARGO) test --release -p weft-tests --test mesh_sim random
	WEFT_LONG=1 $(CARGO) test --release -p weft-tests --test mesh_sim hundreds_of
	WEFT_SEEDS=1000000 $(CARGO) test --release -p weft-tests --test ipam_sim random
	$(CARGO) build --workspace --bins --examples
	WEFT_LONG=1 $(CARGO) test -p weft-tests --test failover -- --test-threads=1

demo: packages ## A small cluster at work, then cleaned up
	$(CARGO) build --release --workspace --bins
	$(CARGO) run --release -q -p weft-tests --bin demo

# A static program runs in whatever root a runtime has. Without a target, macros would have to be static as well.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
weft-cni: ## The CNI plugin, static: target/release/weft-cni
	CARGO_PROFILE_RELEASE_STRIP=symbols RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release -p cni-shim --bin weft-cni --target $(HOST)
	install -D $${CARGO_TARGET_DIR:-target}/$(HOST)/release/weft-cni $${CARGO_TARGET_DIR:-target}/release/weft-cni

bench: packages ## weft beside kernel vxlan, Flannel's and Open vSwitch: ratios (target/bench/); fail-over; ADD and DEL; micro benches; what a mesh, recording and durable commits cost
	$(CARGO) build --release --workspace --bins
	$(CARGO) bench -p weft-benches
	$(CARGO) bench -p router --bench journal
	$(CARGO) bench -p router --bench ledger

fmt: ## Formatting
	$(CARGO) fmt --all --check

lint: packages ## Clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: packages ## API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

unit: packages ## Unit and property tests
	$(CARGO) test -p switch -p peer-mesh -p router -p api -p cli -p cni-shim
	$(CARGO) test -p weft-tests --lib

sim: packages ## Simulations, the allocation count, and ledgers that are killed
	$(CARGO) test -p weft-tests --test sim --test ipam_sim --test mesh_sim --test alloc --test ledger

lab: packages ## The lab: real devices, real peers (needs root)
	$(CARGO) build --workspace --bins --examples
	$(CARGO) test -p weft-tests --test harness --test switch --test sleeve --test engine --test wire --test fdb --test overlap --test fastpath --test offload --test foreign
	$(CARGO) test -p weft-tests --test guard --test expose --test ipam --test load --test mesh --test weftd --test failover --test stations --test cni -- --test-threads=64

fuzz-replay: packages ## The committed fuzz corpus
	$(CARGO) test -p weft-tests --test fuzz_replay

deny: ## Licences and advisories (needs cargo-deny)
	cargo deny check

clean-lab: ## Remove what a lab that was killed has left behind
	$(CARGO) run -q -p weft-tests --bin lab-clean

packages:
	@./.ci/packages
