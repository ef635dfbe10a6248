"""Features at rest: recipes, sealed shards, the listing of images. Never imports TensorFlow."""
