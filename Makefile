# Each target is one readable command; tools/set-up prepares what the target needs, once.
.PHONY: demo test lint bench clean
bin := .venv/bin

demo: .venv/.ready-demo
	$(bin)/hsm-dicom demo

test: .venv/.ready-test
	$(bin)/pytest

lint: .venv/.ready-test
	$(bin)/ruff check . && $(bin)/ruff format --check . && $(bin)/mypy && $(bin)/lint-imports

bench: .venv/.ready-test
	$(bin)/python -m benchmarks

.venv/.ready-%: tools/set-up pyproject.toml tools/debian-%.txt
	tools/set-up $*

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
