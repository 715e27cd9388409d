"""The golden study: simulated predictions with known effects, from which every page is made."""
