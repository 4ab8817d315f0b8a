"""Many jobs fill one value, each a region of it; and values that grow."""
