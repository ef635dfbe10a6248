"""How fast it is, as ratios of things timed alternately in one run."""
