"""Pictures in: where they come from and how they become arrays. Knows no network."""
