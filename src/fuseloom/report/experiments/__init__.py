"""What sweeps and variants of recipes found, as tables, curves and a page."""
