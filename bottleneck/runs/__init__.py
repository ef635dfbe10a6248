"""What a fit leaves behind: run.json, the metrics, and loading without running foreign code."""
