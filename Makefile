# Each target is one readable command; tools/set-up prepares what the target needs, once.
.PHONY: demo test test-fast test-newest test-oldest coverage lint docs soak fuzz bench test-units test-platform test-fips test-install lock dist deb test-deb test-container release clean
bin := .venv/bin
# Three workers for two processors: many tests wait for another process, or for a device that hangs.
# A worker that has finished its share takes over half of what another has left.
parallel := -n $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 ))) --dist worksteal

demo: .venv/.ready-demo
	$(bin)/hsm-dicom demo

test: .venv/.ready-test
	$(bin)/pytest $(parallel)

# What needs nothing but Python.
test-fast: .venv/.ready-fast
	$(bin)/pytest $(parallel) -m "not softhsm and not cards and not interop and not browser and not slow"

# Against the newest versions of everything that pyproject.toml allows, in an environment of its own.
test-newest: .venv/.ready-test
	[ -x .venv-newest/bin/python ] || python3 -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --editable ".[dev]"
	.venv-newest/bin/pytest $(parallel)

# Against the oldest versions of everything that pyproject.toml allows, which use what newer ones have deprecated.
test-oldest: .venv/.ready-test
	tools/set-up-oldest
	.venv-oldest/bin/pytest $(parallel) -W ignore::DeprecationWarning

# Lines and branches by package, subprocesses included; htmlcov/index.html shows the lines.
coverage: .venv/.ready-test
	$(bin)/coverage erase
	$(bin)/pytest $(parallel) --cov --cov-report=html --cov-report=json
	$(bin)/python tools/coverage_by_package.py coverage.json

lint: .venv/.ready-test
	$(bin)/ruff check . && $(bin)/ruff format --check . && $(bin)/mypy && $(bin)/lint-imports

docs: .venv/.ready-docs
	$(bin)/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo "The documentation is in docs/_build/index.html"

# The slow form of what the suite runs once: threads, forks, handshakes, a token that comes back, a stream of
# 4 GiB, a scanner of 10,000 connections, every return value of a token in every job, and every property and fuzz test.
soak: .venv/.ready-test
	HSM_DICOM_SOAK=20 $(bin)/pytest tests/tokens/test_threads.py tests/hsm_dicom/tls/test_soak.py \
	  tests/hsm_dicom/network/test_token_back.py tests/hsm_dicom/network/test_costs.py \
	  tests/hsm_dicom/gateway/holding/test_kill.py tests/hsm_dicom/node/test_a_year.py \
	  tests/hsm_dicom/gateway/test_capacity.py tests/hsm_dicom/node/gateway/test_scanner.py
	HSM_DICOM_SOAK=2 $(bin)/pytest tests/tokens/answers
	HSM_DICOM_SOAK=20 $(bin)/pytest -k "fuzz or hostile or single_bit or property"

fuzz: .venv/.ready-test
	$(bin)/python -m fuzz.signatures -max_total_time=600
	$(bin)/python -m fuzz.messages -max_total_time=600

bench: .venv/.ready-test
	$(bin)/python -m benchmarks

# The units of packaging/systemd in a Debian machine that systemd-nspawn boots: `make test-units P=trixie` for Debian 13.
P := bookworm
test-units: .venv/.ready-test .venv/.ready-units
	P=$(P) $(bin)/pytest tools/platforms/units

# The suite in another Debian release: `make test-platform P=trixie TESTS="-n 2 tests/tokens"` for a part of it.
test-platform: .venv/.ready-units
	tools/platforms/run-suite $(P) $(TESTS)

# Each feature on Debian 13 with OpenSSL in FIPS mode, compared with the table in docs/reference/platforms.md.
test-fips: .venv/.ready-test .venv/.ready-units
	tools/platforms/run-fips

# packaging/locks/, the versions that the tests run with, moved to the newest.
lock: .venv/.ready-test
	tools/lock

# The wheel, the source distribution, their lock and the bill of materials, in dist/; the same octets for a commit.
dist: .venv/.ready-test
	tools/dist

# dist/, signed by an identity of the configuration: make release IDENTITY=NAME [FILES="further files"]
release: .venv/.ready-test
	tools/release $(IDENTITY) $(FILES)

# The page on installing from a release, with the network: what is in dist/, without a compiler, offline, by proxy.
test-install: dist .venv/.ready-install
	$(bin)/pytest packaging/install

# The Debian package in dist/, built in a clean root without a network: `make deb`, or `make deb P=trixie`.
deb: .venv/.ready-test .venv/.ready-deb
	tools/deb $(P)

# The package installed, upgraded, downgraded, removed and purged, under systemd and by piuparts.
test-deb: deb
	tools/test-deb $(P)

# The container image, built and run by Podman in a root of its own; the manifests of Kubernetes. Needs the network.
test-container: .venv/.ready-test .venv/.ready-container
	$(bin)/pytest tools/platforms/container

.venv/.ready-%: tools/set-up pyproject.toml packaging/locks/dev.txt tools/debian-%.txt
	tools/set-up $*

clean:
	rm -rf .venv .venv-newest .venv-oldest .venv-cards build dist docs/_build htmlcov coverage.json .coverage* \
	  .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
