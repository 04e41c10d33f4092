"""The smart card driver, from PC/SC up to a key.

| module       | one idea                                                                                         |
|--------------|--------------------------------------------------------------------------------------------------|
| `deadlines`  | alarms, for calls that know no deadline                                                          |
| `pcsc`       | winscard calls, each within a deadline, their codes as errors                                    |
| `channel`    | bytes to the card in one reader, and back                                                        |
| `line`       | the channel as everything in this process shares it, one use at a time                           |
| `lines`      | the lines that are open here                                                                     |
| `apdu`       | commands and responses: short, extended, chained, in parts                                       |
| `status`     | status words, with the standard's meaning                                                        |
| `tlv`        | data objects                                                                                     |
| `commands`   | the commands of ISO/IEC 7816-4 and -8                                                            |
| `profiles`   | kinds of cards, as data                                                                          |
| `families`   | what differs between kinds of cards: `iso7816`, `piv`, `openpgp`                                 |
| `card`       | one application on one card: selected, recognised, healed                                        |
| `applications` | those that are open here                                                                       |
| `login`      | presenting a PIN, at most once, never the last try unseen                                        |
| `pinpad`     | readers on which the PIN is typed                                                                |
| `key`        | a private key that carries out a candidate                                                            |
| `secrets`    | keys for authentication and codes                                                                |
| `search`     | which card                                                                                       |
| `check`      | what a card can do, tried out                                                                    |
| `monitor`    | cards and readers that come and go                                                               |
| `opening`    | from a `card:` URI to a key                                                                      |
"""
