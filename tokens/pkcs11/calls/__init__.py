"""The calls into a PKCS#11 module, each with a deadline.

| module                          | contents                                                                      |
|---------------------------------|-------------------------------------------------------------------------------|
| `loading`, `functions`          | loading a module; the places of its functions                                 |
| `call_threads`, `lane`, `fence` | threads whose callers can leave a call; what is not called until it returns   |
| `limits`                        | which deadline applies to which function                                      |
| `structures`                    | templates and mechanisms in memory                                            |
| `cryptoki`                      | the calls themselves, and those that return only a CK_RV                      |
| `queries`, `operations`         | calls that return data; calls that use keys                                   |
| `return_values`, `faults`       | the names of CK_RV; what each of them means for a connection                  |
| `capabilities`                  | the mechanisms of a token, each queried once                                  |
"""
