"""What our code makes of each answer of a token: every function, every CK_RV that the standard lists for it, every job.

`standard` lists the CK_RVs, `jobs` what is done with a token, and `scene` is the process in which one job meets each
answer. `table` writes and reads the checked-in result, `answers.txt`.
"""
