"""Many streams on one device: the batching loop, its scheduler, the sessions around streams."""
