"""Statistics, claims, and what is made of results. Nothing here needs Keras to be imported."""
