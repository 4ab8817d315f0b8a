"""Arrays that are mapped into memory: from a copy that processes share, or from where they are stored."""
