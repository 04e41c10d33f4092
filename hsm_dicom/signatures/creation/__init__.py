"""Creation of signatures (PS3.15 Annex C, PS3.3 C.12.1.1.3).

``request`` holds the signing request, ``selection`` selects the elements to cover, ``repair`` makes a clean copy where
one is needed, ``insert`` inserts the Items, and ``create`` signs in three steps.
"""
