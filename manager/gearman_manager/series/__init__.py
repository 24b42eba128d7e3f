"""How pools and functions have fared: figures per minute and per hour, kept over restarts, for charts.

In: the live objects of pools and scaler, and what our job servers count (`function_counts.py`). `recorder.py` looks
every ten seconds, adds up minutes, and gives them to the history's file; of the minutes of an hour it makes one row for
each series. Out: the points of one series over the last quarter of an hour to week (`reports.py`), with marks of what
has happened meanwhile (`marks.py`). `figures.py` declares what a point has, and how it is stored. Nothing here decides
anything. Open `recorder.py` first.
"""
