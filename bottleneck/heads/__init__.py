"""Classifiers on cached features: which there are, and how they are fitted."""
