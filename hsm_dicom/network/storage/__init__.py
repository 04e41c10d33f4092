"""What the storing of received objects needs besides its service.

| module            | contents                                                                       |
|-------------------|--------------------------------------------------------------------------------|
| `sop_classes`     | the SOP Classes that a listener accepts                                        |
| `incoming`        | a Data Set on its way to disk                                                  |
| `writeback`       | the writing to disk while it arrives                                           |
| `leftovers`       | files of receptions that never ended                                           |
| `soundness`       | whether a file is what its request says                                        |
| `comparison`      | whether two files hold the same object                                         |
| `policy_check`    | whether an object is accepted: by a policy                                     |
| `signature_check` | the same by its signatures alone                                               |
| `folders`         | folders for objects                                                            |
| `quarantine`      | keeping what was not accepted                                                  |
"""
