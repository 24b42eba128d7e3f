"""Who may what on the control API and on the pages: credentials, roles, sessions, and the checks around them.

In: a request's head, and where it comes from. Out: its `Caller` with a role, or a refusal. On the TCP address
`gate.py` decides before anything of a body is read: host and origin (`hosts.py`), the proxy (`proxy.py`), then a token
(`credentials.py`), a session (`sessions.py`) or the proxy's user. In the application `guards.py` compares the caller's
role with what the route needs (`requirements.py`), and checks the token against forged requests. `login_routes.py`
begins and ends sessions. Users are in a file (`users_file.py`). Open `gate.py` first.
"""
