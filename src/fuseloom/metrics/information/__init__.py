"""Information between discrete variables: entropies, and how two sources share what they tell of a target."""
