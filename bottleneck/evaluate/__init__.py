"""How good heads are, which differ, and what to mistrust in the data."""
