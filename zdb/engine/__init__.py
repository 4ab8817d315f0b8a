"""How a Dataset becomes durable: stores, layout, writing, reading, listing and deleting."""
