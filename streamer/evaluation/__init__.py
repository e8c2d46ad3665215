"""`streamer evaluate`: how well and how fast a model hears a set of recordings.

A recording's way is `manifest` → `offline` and `simulation` → `experiment` (with `measures`) →
`table` and `report`.
"""
