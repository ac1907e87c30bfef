# The commands of everyday work; `make` lists them.

# Of `make chaos`: what is decided by chance, and for how long things are broken.
SEED := 1
SECONDS := 300
# Of `make history`: how many rows are imported.
ROWS := 2000000
# Of `make large` and `make split`: how many entries the ledger has.
ENTRIES := 1000000

# Long tests, one after the other, with what they say as they say it. One that hangs is ended, as by `make test`.
LONG := .tools/bin/cargo-nextest nextest run --release --profile long --no-capture

.PHONY: help run test chaos flood fuzz history large split bench check advisories tools

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

run: tools ## run the service with ARGS="...", on a private PostgreSQL unless DATABASE_URL is set
	cargo run --release -- $(ARGS)

test: tools ## run every test, and those of the ledger once more with four books
	scripts/run-tests

chaos: tools ## break replicas, wires and PostgreSQL for SECONDS=300 with SEED=1, and judge what was told by the book
	CHAOS_SEED=$(SEED) CHAOS_SECONDS=$(SECONDS) $(LONG) --test it -E 'test(/^chaos::/)'

flood: tools ## flood one account for half a minute, and compare the others' latency with that of a quiet time
	FLOOD_SECONDS=30 $(LONG) --test it -E 'test(/^flood::/)'

fuzz: tools ## try millions of arbitrary requests, names, tokens and files; FUZZ_CASES=... of each, from FUZZ_SEED=... on
	FUZZ_CASES=$${FUZZ_CASES:-2000000} $(LONG) --lib --test it -E 'test(/fuzz::/)'

history: tools ## import ROWS=2000000 rows of the replaced system: whole, killed five times, and beside how fast they are copied
	HISTORY_ROWS=$(ROWS) $(LONG) --test it -E 'test(/^history_import::(whole::a_history_with_every|killed|rate)/)'

split: tools ## split a ledger of ENTRIES=1000000 entries into four books beside a service at work, killed three times on the way
	SPLIT_ENTRIES=$(ENTRIES) $(LONG) --test it -E 'test(/^split::/)'

large: tools ## audit and export a book of ENTRIES=1000000 entries, and tell how long that takes and in how little memory
	LARGE_BOOK_ENTRIES=$(ENTRIES) $(LONG) --test it -E 'test(/^large_book::/)'

bench: tools ## measure side by side with what it replaces; ARGS="--quick" in four minutes, ARGS="--help" for more
	cargo build --release
	cargo run --release --manifest-path bench/Cargo.toml -- $(ARGS)

check: tools ## check format, lints, documentation and dependencies of the code, the contract and the manifests; test the benchmark's own arithmetic
	cargo fmt --check
	cargo fmt --check --manifest-path bench/Cargo.toml
	cargo fmt --check --manifest-path bench/peers/Cargo.toml
	cargo fmt --check --manifest-path examples/rust/Cargo.toml
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --manifest-path bench/Cargo.toml --target-dir target -- -D warnings
	cargo test --manifest-path bench/Cargo.toml --target-dir target
	cargo clippy --all-targets --manifest-path examples/rust/Cargo.toml --target-dir target -- -D warnings
	cargo test --manifest-path examples/rust/Cargo.toml --target-dir target
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items
	.tools/bin/cargo-deny --locked check bans licenses sources
	.tools/bin/buf lint
	.tools/bin/buf format -d --exit-code
	scripts/check-manifests

advisories: tools ## look for known vulnerabilities in dependencies; needs a network that reaches GitHub
	.tools/bin/cargo-deny --locked check advisories

tools: ## install what the other targets need: PostgreSQL, hledger, Prometheus, Chromium, grpcurl, buf, cargo-deny, cargo-nextest, kubectl, and what checks manifests
	@scripts/install-postgres
	@scripts/install-tools
	@scripts/install-hledger
	@scripts/install-prometheus
	@scripts/install-browser
