"""What every report is made of: tables as text and HTML, pictures as data URIs, one page.

Owns layout and looks. Must not know: what is reported.
"""
