"""The conveyor: find out what is missing, decode, run the base, seal shards."""
