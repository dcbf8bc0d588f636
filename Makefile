# One line for each target: `make`. Variables given to make (PP_SCHEDULE=…, ARGS=…) reach the programs.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

# Where what `make up` starts and the servers of `make test` come from: auto, compose or private.
PP_SERVERS ?= auto
# What `make up` remembers.
PP_STATE_DIR ?= .pp
export PP_SERVERS PP_STATE_DIR

CARGO ?= cargo
# Arguments for the programs of run, run-*, cli-* and logs.
ARGS ?=
# How many faults make up a chaos, and what they are drawn from; without a seed it is a new one every time.
ROUNDS ?= 50
SEED ?=
# Not empty: `make up` starts the servers alone.
SERVERS_ONLY ?=
# `all`, or `postgres`: `make up` starts a system without RabbitMQ and Redis.
SERVERS ?= all
# Not empty: `make up` has TLS on every wire.
TLS ?=
# Not empty: `make bench` measures less.
QUICK ?=

# Evaluated where they are used, so that `make` alone starts no Cargo.
target_dir = $(shell $(CARGO) metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
testkit = $(target_dir)/debug/pp_testkit
chaos = $(target_dir)/debug/pp_chaos
has_nextest = $(shell $(CARGO) nextest --version 2>/dev/null)

# Programs and tests in one build, with one set of features: nothing is compiled twice for the sake of a feature.
build_tests = $(CARGO) build --locked --workspace --bins --tests
# $(1) selects tests for nextest, $(2) for cargo test.
run_tests = $(if $(has_nextest),$(CARGO) nextest run --locked --workspace --no-fail-fast $(1),$(CARGO) test --locked $(2))
with_servers = $(testkit) with-servers -- $(call run_tests,$(1),$(2))

# What `make bench` runs.
bench_programs = pp_bench pp_backend_api pp_bare_handler pp_bench_worker task_consumer task_producer pp_standalone

# What SERVERS says, for `make up`.
only_postgres = $(if $(filter-out all postgres,$(SERVERS)),$(error SERVERS must be all or postgres),$(if $(filter postgres,$(SERVERS)),--only-postgres))

# Reads what `make up` wrote. What the caller set wins over it.
read_env = own="$$(export -p | grep '^export PP_' || true)"; \
	if [ -f "$(abspath $(PP_STATE_DIR))/env" ]; then set -a; . "$(abspath $(PP_STATE_DIR))/env"; set +a; fi; \
	eval "$$own"

.PHONY: help
help: ## list the targets
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### a system on this machine

.PHONY: run up down status logs
run: ## everything in one process, embedded: needs no server (ARGS=…)
	@$(CARGO) run --locked --bin pp_standalone -- $(ARGS)

up: ## servers and services, in containers or as processes; starts what is missing (SERVERS=postgres, SERVERS_ONLY=1, TLS=1, PP_SERVERS=private|compose)
	@$(CARGO) build --locked --bin pp_testkit
	@CARGO="$(CARGO)" $(testkit) up --build $(only_postgres) $(if $(SERVERS_ONLY),--servers-only) $(if $(TLS),--tls)

# An earlier build of the testkit will do: these must work while the code does not compile.
down: ## stop what `make up` started; data stays (ARGS=--purge removes it)
	@test -x $(testkit) || $(CARGO) build --locked --bin pp_testkit
	@$(testkit) down $(ARGS)

status: ## what runs where; fails unless every server and service is ready
	@test -x $(testkit) || $(CARGO) build --locked --bin pp_testkit
	@$(testkit) status

logs: ## the last lines of all logs (ARGS="task_consumer --follow")
	@test -x $(testkit) || $(CARGO) build --locked --bin pp_testkit
	@$(testkit) logs $(ARGS)

##### tests

.PHONY: test test-fast db-test queue-test http-integration-test containers-test chaos chaos-embedded chaos-without-broker staleness bench
test: ## all tests, on real PostgreSQL, RabbitMQ and Redis and on the embedded adapters
	$(build_tests)
	$(call with_servers,,--workspace)
	$(if $(has_nextest),$(CARGO) test --locked --workspace --doc)

test-fast: ## the embedded half of the tests: no server
	$(build_tests)
	$(call run_tests,-E 'not test(/on_servers/)',--workspace -- --skip on_servers)

db-test: ## the store's tests, on real PostgreSQL and on SQLite
	$(build_tests)
	$(call with_servers,-E 'test(/store/)',--workspace store)

queue-test: ## the broker's tests, on real RabbitMQ and in process
	$(build_tests)
	$(call with_servers,-E 'test(/broker/)',--workspace broker)

http-integration-test: ## the tests of the REST API
	$(build_tests)
	$(call with_servers,-E 'package(pp_backend_api)',--package pp_backend_api)

containers-test: ## the images and docker-compose.yml on a Docker engine: builds, starts, kills, stops; fails where none answers
	@$(CARGO) build --locked --bin pp_testkit
	@$(testkit) containers-test

chaos: ## fault after fault: nothing acknowledged is lost, nothing takes effect twice (ROUNDS=50 SEED=…)
	@$(CARGO) build --locked --workspace --bins
	@seed="$(or $(SEED),$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '))"; \
	embedded=$$(( $(ROUNDS) / 10 )); [ "$$embedded" -ge 3 ] || embedded=3; \
	$(chaos) faults --rounds $(ROUNDS) --seed "$$seed" && \
	$(chaos) faults --embedded --rounds "$$embedded" --seed "$$seed"

chaos-without-broker: ## the same for a system without RabbitMQ
	@$(CARGO) build --locked --workspace --bins
	@$(chaos) faults --without-broker --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

chaos-embedded: ## the same for the embedded program alone: needs no server
	@$(CARGO) build --locked --workspace --bins
	@$(chaos) faults --embedded --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

staleness: ## changes behind the cache's back under faults: no read is staler than the bound (ARGS="--changes 10000" SEED=…)
	@$(CARGO) build --locked --workspace --bins
	@$(chaos) staleness $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: ## every figure next to its limit, a release build: prints a table (QUICK=1, ARGS="--only drain", ARGS=--growth, ARGS=--list)
	$(CARGO) build --locked --workspace --profile bench-release $(addprefix --bin ,$(bench_programs))
	@$(target_dir)/bench-release/pp_bench $(if $(QUICK),--quick) $(ARGS)

##### the documents

.PHONY: screenshots
screenshots: ## pictures of the dashboard in docs/images (needs Chromium, Node.js and npm; takes three minutes)
	@$(CARGO) build --locked --bin pp_standalone
	@cd testing/browser && npm ci --no-audit --no-fund --ignore-scripts && \
		node screenshots.mjs "$(target_dir)/debug/pp_standalone" ../../docs/images

##### the code

.PHONY: lint fmt doc package ci version
lint: ## formatting and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --package pp_standalone --no-default-features --features sqlite -- -D warnings

fmt: ## format the code
	$(CARGO) fmt --all

doc: ## the API documentation, in target/doc
	$(CARGO) doc --locked --workspace --no-deps

package: ## what a registry would get of the crates that users depend on; publishes nothing
	$(CARGO) publish --locked --workspace --dry-run --no-verify --allow-dirty

ci: ## what the continuous integration runs
	.ci/run

version: ## the version of PP
	@sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml

##### single operations, on the servers of `make up` or on those named by PP_DATABASE_URL, PP_BROKER_URL, PP_CACHE_URL

.PHONY: create-db connect-db run-pp-backend-api run-task-producer run-task-consumer cli-run-01 cli-run-02
create-db: ## create the database and run its migrations
	@$(read_env); exec $(CARGO) run --locked --quiet --bin pp_storage -- migrate

connect-db: ## a psql session in the database
	@$(read_env); exec psql "$${PP_DATABASE_URL:?is not set: run make up, or name a database}" $(ARGS)

run-pp-backend-api: ## the REST API in the foreground (ARGS=…)
	@$(read_env); exec $(CARGO) run --locked --bin pp_backend_api -- $(ARGS)

run-task-producer: ## the producer in the foreground (ARGS="--once")
	@$(read_env); exec $(CARGO) run --locked --bin task_producer -- $(ARGS)

run-task-consumer: ## the consumer in the foreground (ARGS=…)
	@$(read_env); exec $(CARGO) run --locked --bin task_consumer -- $(ARGS)

cli-run-01: ## the operator's tool (ARGS="--id 2 --call-type db", by default: search)
	@$(read_env); exec $(CARGO) run --locked --quiet --bin cli_01 -- $(or $(ARGS),search)

cli-run-02: ## the raw HTTP client (ARGS="--path /work/1")
	@$(read_env); exec $(CARGO) run --locked --quiet --bin cli_02 -- $(ARGS)
