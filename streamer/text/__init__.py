"""Readable text: spoken words as one would write them, and lists of words not to be read at all.

Knows words only: no audio, no events, no sessions. English.
"""
