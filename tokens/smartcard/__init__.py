"""The smart card driver, from PC/SC to a key.

| module               | contents                                                                                   |
|----------------------|--------------------------------------------------------------------------------------------|
| `readers.deadlines`  | alarms, for calls that have no deadline, and the thread that watches them                  |
| `readers.pcsc`       | PC/SC contexts and calls, each within a deadline; their codes as errors                    |
| `readers.channel`    | bytes to the card in one reader, and back                                                  |
| `readers.connection` | the connection to the card in one reader, one use at a time                                |
| `readers.pinpad`     | readers on which a person types the PIN                                                    |
| `apdu`               | commands and responses, status words, and the parser of data objects (BER-TLV)             |
| `profiles`           | kinds of cards, as data; `profile_table` reads them from a table                           |
| `session`            | one use of a card, with its application selected                                           |
| `families`           | what differs between kinds of cards: `iso7816`, `piv`, `openpgp`                           |
| `login`              | presenting a PIN at most once, and never when only one retry is left                       |
| `card`               | one application on one card: selecting, identifying, logging in, reconnecting              |
| `cards`              | the owner of open connections and applications, and how they are shared                    |
| `key`                | a private key                                                                              |
| `secrets`            | secret keys for authentication and MACs                                                    |
| `search`             | finding a card                                                                             |
| `check`              | self-test of a card                                                                        |
| `officer`            | setting a new PIN with the PUK or the admin PIN                                            |
| `monitor`            | events of readers: a card is inserted or removed                                           |
| `opening`            | from a `card:` URI to a card, a key or secret keys                                         |
"""
