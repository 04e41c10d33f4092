"""Readers, and the connections to the cards in them.

`pcsc` makes PC/SC calls, each within a deadline of `deadlines`; a `channel` carries bytes to one card and back; a
`connection` shares it between all users; `pinpad` supports readers with a key pad for the PIN.
"""
