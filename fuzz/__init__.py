"""Coverage-guided fuzz targets (atheris). `make fuzz` runs each for a few minutes; the suite runs each briefly."""
