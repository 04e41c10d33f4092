"""How the compiler reads each kind of table, and finds tables that cannot work together.

| module          | one idea                                                                          |
|-----------------|-----------------------------------------------------------------------------------|
| `peers`         | `[peers.NAME]`: its profile, its certificate, its ISCL, and what this node shows it |
| `listeners`     | `[listeners.NAME]`: its identities, and the peers that may call it                |
| `iscl`          | the ISCL settings of both, and the secret keys that they name                     |
| `routes`        | `[plain.NAME]`, `[routes.NAME]`, `[gateway]`, `[status]` and `[alarms.NAME]`      |
| `holding`       | routes that judge or sign the objects that pass                                   |
| `clashes`       | addresses and peers that are sound alone and cannot work together                 |
| `route_clashes` | the same of routes, and routes that weaken the node                               |
"""
