"""Connections that have not proven who they are yet: ``pending`` counts them, ``places`` limits them, and
``lingering`` closes rejected ones so that the peer can read the reason. ``workers`` are the threads that wait for them
and compute handshakes."""
