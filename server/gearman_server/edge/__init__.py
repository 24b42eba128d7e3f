"""The edge: sockets, TLS and the event loop around the broker. It decides who comes in, and nothing about jobs.

In: bytes from peers, and the time. Out: packets to the broker; the bytes that the broker leaves in a session's
out-buffer, written once per pass of the loop.
Open `listener.py` first, then `connection.py`: a packet's way in and out. `acceptor.py` stands before them: who a peer
is, whether it may connect, and its handshake (`tls_handshake.py`, `tls.py`). `ports.py` takes and gives back what
`sockets.py` and `unix_sockets.py` open; `settings.py` is what an operator decides about all this.
"""
