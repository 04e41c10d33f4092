"""The strict walk over the encoded bytes of a Data Set.

| module          | one idea                                                                 |
|-----------------|--------------------------------------------------------------------------|
| `walker`        | the walk: elements, and their part of the MAC byte stream                |
| `header_window` | the bytes around the position of the walk, and headers in them           |
| `known_headers` | headers that were decoded before                                         |
| `notes`         | positions that a walk records in addition to the elements                |
| `refusals`      | the errors of a walk                                                     |
"""
