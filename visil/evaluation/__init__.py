"""Ground truth, sources of scores, metrics and reports of `visil evaluate`."""
