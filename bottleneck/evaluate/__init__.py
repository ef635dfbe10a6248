"""Judging what was made: metrics, paired comparison, transferability, the report."""
