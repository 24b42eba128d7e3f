"""The pages for people: HTML made here from what the API's objects tell, and forms that steer the same objects.

In: requests that `access/` has let in. Out: pages from `templates/`, with a stylesheet and a script of our own in
`static/`; nothing is loaded from elsewhere, and nothing stands inline. `site.py` joins the pages, a file of routes for
each. A page has a part that changes: the script asks for that alone (`rendering.py`) whenever something has happened.
Charts are parts of their own (`chart_parts.py`), drawn here as SVG. All that others have written goes through
`texts.py`. Open `site.py` first.
"""
