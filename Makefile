# make            lists the targets
# Every target does all of its own set-up; the second time that takes a moment.

.DEFAULT_GOAL := help
.PHONY: help demo up down status test test-java check setup test-all bench chaos test-cluster

VENV := $(or $(UV_PROJECT_ENVIRONMENT),.venv)
SIGHTLINE := $(VENV)/bin/sightline

# make up PROFILE=full: with logins, the API and the shadow
ifdef PROFILE
export SIGHTLINE_STACK__PROFILE := $(PROFILE)
endif

# make up PORT_BASE=21000 moves every port of this clone's stack
ifdef PORT_BASE
export SIGHTLINE_STACK__PORT_BASE := $(PORT_BASE)
endif

help:
	@echo 'make demo [SOURCE=path] [PORT_BASE=21000]   the whole pipeline on simulated boards, or on your images or video; then prints what it found'
	@echo 'make up [PROFILE=full] [PORT_BASE=21000]   the local stack: Kafka, Connect, registry, Postgres, S3, MLflow, inference; full: Keycloak, API, shadow'
	@echo 'make down                    stops it; data stays'
	@echo 'make status                  is all well?'
	@echo 'make test [BOARDS=folder] [VIDEO=file]   all tests, against real servers; the real boards and video are yours'
	@echo 'make test-all                and the slow ones: every DAG in a real Airflow'
	@echo 'make chaos                   faults while frames flow: kills, outages, slow networks, full disks'
	@echo 'make bench [ROWS="stream s3"]   ratios, appended to docs/benchmarks.md'
	@echo 'make check                   style, types, import rules'
	@echo 'make setup                   environment and binaries, without starting anything'

setup:
	@command -v python3 >/dev/null || { echo 'sightline: no python3. Install it: apt-get install -y python3 python3-venv (macOS: brew install python@3.13)' >&2; exit 78; }
	@python3 -m sightline.stack.setup

demo: setup
	@test -z '$(SOURCE)' || test -e '$(SOURCE)' || case '$(SOURCE)' in *:*) ;; *) echo 'sightline: there is no $(SOURCE)' >&2; exit 65;; esac
	@$(SIGHTLINE) demo $(if $(SOURCE),'$(SOURCE)')

up: setup
	@$(SIGHTLINE) up

down:
	@test -x $(SIGHTLINE) || { echo 'nothing to stop: this clone was never set up'; exit 0; }; $(SIGHTLINE) down

status: setup
	@$(SIGHTLINE) status

test: check test-java
	@BOARDS='$(BOARDS)' VIDEO='$(VIDEO)' $(VENV)/bin/python -m pytest

test-java: setup
	@mvn -B -ntp -f connectors/plugins-java/pom.xml test

check: setup
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/python -m pytest --collect-only -qq tests/slow tests/chaos   # what make test does not run must still be importable

chaos: setup
	@$(VENV)/bin/python -m pytest tests/chaos

test-all: test
	@$(VENV)/bin/python -m pytest tests/slow

test-cluster:
	@echo 'make $@ is not built yet' >&2; exit 2

bench: setup
	@$(VENV)/bin/python -m tests.bench $(ROWS)
