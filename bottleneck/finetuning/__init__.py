"""Training a base with its head, from the top down."""
