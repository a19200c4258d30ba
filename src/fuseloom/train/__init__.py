"""Training: one step function, a plain loop for encoded data, and the saved model."""
