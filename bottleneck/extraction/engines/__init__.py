"""Engines: what runs a base, behind one protocol."""
