"""Ground truth, metrics and the reports of benchmarks."""
