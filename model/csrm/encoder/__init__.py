"""A small cross-encoder beside the language model: query and product in one pass, four grades out."""
