# `make` alone prints what there is. Everything works from a fresh clone, as root and as a normal user.

.DEFAULT_GOAL := help
.PHONY: help test demo lint format clippy deny snapshots matrix lint-setup api reference docs bench figures prove audit screenshots
MAKEFLAGS += --no-print-directory

# One shape for every cargo call: another set of packages or features would rebuild what others built.
ALL := --workspace --all-targets --all-features
# sqlx's macros read the committed .sqlx; an exported DATABASE_URL would make them dial a server at build time.
export SQLX_OFFLINE := true
unexport DATABASE_URL REDIS_URL KAFKA_BOOTSTRAP_SERVERS

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | expand -t 4 | awk -F@ '{ printf "%-16s%s\n", $$1, $$2 }'

test: ## set up, then all tests: unit, property, fault suites with real servers, containers, doctests
	@scripts/setup build servers kafka docker aws
	@scripts/with-docker scripts/cargo-tests

demo: ## set up, then the main job: a service of two replicas under five faults, and its accounts
	@scripts/setup build servers kafka
	cargo build $(ALL)
	@$${CARGO_TARGET_DIR:-target}/debug/demo

lint: format clippy deny snapshots matrix ## format, clippy, dependencies' licences and sources, public API, feature matrix

format: lint-setup
	cargo fmt --all --check

clippy: lint-setup
	cargo clippy $(ALL) -- -D warnings

deny: lint-setup
	@scripts/deny check bans licenses sources

snapshots: lint-setup
	@scripts/api-snapshots check

matrix: lint-setup
	@scripts/matrix

lint-setup:
	@scripts/setup build tools

api: ## renew docs/api, the snapshot of each crate's public API
	@scripts/setup build
	@scripts/api-snapshots renew
	@git --no-pager diff --stat -- docs/api

reference: ## renew docs/reference: every key of the configuration, and its JSON Schema
	@scripts/setup build servers kafka
	cargo build $(ALL)
	@mkdir -p docs/reference
	@export CONFORMANCE_CASE=reference; program=$${CARGO_TARGET_DIR:-target}/debug/conformance; \
	$$program config --reference >docs/reference/config.md && \
	$$program config --schema >docs/reference/config.schema.json
	@git --no-pager diff --stat -- docs/reference

docs: ## the API documentation, in target/doc/
	@scripts/setup build
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps

bench: ## overhead and head-to-head benchmarks, each with its ratio
	@scripts/setup build servers kafka
	@grep -qs '^\[\[bench\]\]' benches/Cargo.toml hafnium-*/Cargo.toml || \
		{ echo "no benchmark is declared yet ([[bench]] in benches/ or a crate)" >&2; exit 1; }
	cargo bench --workspace --all-features --bench '*'

figures: ## every suite that has targets, many runs each (RUNS=N SEED=S for faults); one summary, misses first
	@scripts/setup build servers kafka
	@scripts/figures $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED))

prove: ## remove each guarantee (mutants/*.patch) and show that its test fails
	@scripts/setup build servers kafka aws
	@scripts/prove

audit: ## known vulnerabilities of dependencies (fetches the advisory database)
	@scripts/setup build tools
	@scripts/deny check advisories

screenshots: ## the status page of the example service in a headless browser, to docs/screenshots/
	@scripts/setup build servers kafka screenshots
	cargo build $(ALL)
	@scripts/screenshots
