"""The outside world, one file per kind; they never import each other."""
