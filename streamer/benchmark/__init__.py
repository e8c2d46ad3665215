"""`streamer bench`: how many live streams a machine carries, and how late their words are.

A run's way is `schedule` → `load` over `inprocess` or `wire` → `observation` → `results` → `table`
and `report`; `search` finds the largest number of streams that holds, `throughput` times the steps
of several models side by side. The schedule, the statistics and the search are pure.
"""
