"""HTTP/1.1 over a connected socket, strict about what a peer sends and with a bound for everything.

In: a stream with `settimeout`, plain or gevent's, and an application. Out: a request for the application, its answer
for the peer, or a refusal. The parsing is h11's; nothing here imports gevent or knows what is served.
Open `serving.py` first: the requests of one connection, in turn. `connection.py` reads and answers one of them, with
the values of `messages.py`; `bounds.py` has the times and the memory, `places.py` the number of connections.
The client's side is the standard library's; `unix_connection.py` has it for Unix sockets.
"""
