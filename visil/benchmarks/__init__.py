"""What the scripts that measure share: the yardstick of edited copies, the baselines, times and memory, reports."""
