"""Time stamps of an authority over the value of a signature: RFC 3161, PS3.3 C.12.1.1.3.1.4.

``protocol`` encodes requests and reads responses without a transport; ``client`` sends them over HTTP; ``files`` does
it in two steps through files, for a node without a network; ``validation`` verifies a token.
"""
