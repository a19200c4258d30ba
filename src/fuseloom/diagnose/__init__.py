"""One file per diagnostic: a model and data in, a frozen dataclass out; no side effect."""
