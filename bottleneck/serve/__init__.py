"""Serve a run: predict and export."""
