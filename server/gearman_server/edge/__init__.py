"""The edge: sockets, TLS and the event loop around the broker. It decides about access, and nothing about jobs.

In: bytes from peers, and the time. Out: packets to the broker; the bytes that the broker leaves in a session's
out-buffer, written once per pass of the loop.
Open `listener.py` first, then `connection.py`: a packet's way in and out. `acceptor.py` comes before them: a peer's
identity, its access, and its handshake (`tls_handshake.py`, `tls.py`). `ports.py` takes and gives back the listening
sockets that `sockets.py` and `unix_sockets.py` open; `settings.py` has the operator's settings for all this.
"""
