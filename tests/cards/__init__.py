"""Smart cards without a reader: Debian's pcscd with a virtual reader, cards of our own, and cards by others.

| module            | one idea                                                                                    |
|-------------------|---------------------------------------------------------------------------------------------|
| `daemon`          | a private pcscd, in a network of its own, with any number of virtual readers                |
| `link`            | a card's end of the wire to the virtual reader (vpcd)                                       |
| `program`         | the program that a card of our own runs in: inserted, pulled, swapped, made to fail         |
| `iso7816`         | what every card of our own does: APDUs, chaining, PINs                                      |
| `authentication`  | a card for authentication, codes and signatures (ISO/IEC 7816-4 and -8)                     |
| `piv`             | a PIV card (SP 800-73)                                                                      |
| `bridges/`        | cards that were not written here, each run by its own small program                         |

The card programs import nothing of the project: they are the other side.
"""
