"""From an address to arrays on disk, and from those to the images that a variant trains on."""
