"""Frozen networks: which there are, their weights, and how pixels become features."""
