"""Containers: files that hold many images, read in place without unpacking."""
