"""What our code makes of each answer of a token: every function, every CK_RV that the standard lists for it, every job.

`standard` lists the CK_RVs, `jobs` what is done with a token. `scene` is a process in which jobs meet each answer, and
`hanging` one in which they meet functions that hang. `table` writes and reads the checked-in result, `answers.txt`.
"""
