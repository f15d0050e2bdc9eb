"""study: people compare the pictures of runs in a browser, and their votes meet the metrics.

A study is a folder: `study.json` (what it is), `queries.jsonl` (what is shown), `pictures/` (named by content, free of
notes, so that nothing tells a method), `secret.key` (signs links) and, unless a database is named, `votes.sqlite`.
Decisions are pure functions (`assignment.py`, `raters.py`, `agree.py`); `web.py` shows what they say and `store.py`
keeps what people answer.
"""
