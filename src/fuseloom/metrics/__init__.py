"""Functions of predictions and targets."""
