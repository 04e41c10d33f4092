"""Policies: what is asked of the signatures of an object, by modality, SOP Class and caller.

| module      | one idea                                                                     |
|-------------|------------------------------------------------------------------------------|
| `policy`    | `VerificationPolicy`: demands and rules, from a TOML file or the configuration |
| `demands`   | the demands against the signatures of one object: all that are not met       |
| `names`     | names of certificates against those that a policy lists                      |
| `unmet`     | everything that keeps an object from meeting a policy                        |
| `contradictions` | policies that no object can meet                                        |
| `validator` | `PolicyValidator`: the rule for an object, and its `PolicyVerdict`           |
"""
