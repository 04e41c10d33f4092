"""Creation of signatures (PS3.15 Annex C, PS3.3 C.12.1.1.3).

``request`` says what is wanted, ``selection`` which elements are covered, ``repair`` whether a clean copy is signed
instead, ``insert`` where the Items go, and ``create`` does it in three steps.
"""
