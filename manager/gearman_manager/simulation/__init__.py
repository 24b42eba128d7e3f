"""`gearman-manager simulate`: the real scaler on a virtual clock, compared with other policies on a trace of arrivals.

In: a CSV file of arrivals, and the rules of a pool. Out: for each policy a row of waits, worker-seconds and changes,
and a picture if wanted.
Open `run.py` first; `engine.py` is the virtual clock, `scaling_policies.py` holds what is compared, ours among them.
For `--propose`, which looks for windows in arrivals of days, open `propose.py`.
Nothing here starts a process or opens a socket.
"""
