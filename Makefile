# Each target is one readable command; tools/set-up prepares what the target needs, once.
.PHONY: demo test lint docs soak fuzz bench clean
bin := .venv/bin

demo: .venv/.ready-demo
	$(bin)/hsm-dicom demo

test: .venv/.ready-test
	$(bin)/pytest

lint: .venv/.ready-test
	$(bin)/ruff check . && $(bin)/ruff format --check . && $(bin)/mypy && $(bin)/lint-imports

docs: .venv/.ready-docs
	$(bin)/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo "The documentation is in docs/_build/index.html"

# The slow form of what the suite runs once: threads, forks, handshakes, a token that comes back, and every property and fuzz test.
soak: .venv/.ready-test
	HSM_DICOM_SOAK=20 $(bin)/pytest tests/tokens/test_threads.py tests/hsm_dicom/tls/test_soak.py \
	  tests/hsm_dicom/network/test_token_back.py tests/hsm_dicom/network/test_costs.py
	HSM_DICOM_SOAK=20 $(bin)/pytest -k "fuzz or hostile or any_single_bit or property"

fuzz: .venv/.ready-test
	$(bin)/python -m fuzz.signatures -max_total_time=600

bench: .venv/.ready-test
	$(bin)/python -m benchmarks

.venv/.ready-%: tools/set-up pyproject.toml tools/debian-%.txt
	tools/set-up $*

clean:
	rm -rf .venv docs/_build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
