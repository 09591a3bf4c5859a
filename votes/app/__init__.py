"""`votes app`: a page on this machine where anyone can drop a video, and have it restored by `votes restore`.

`server` speaks HTTP and keeps strangers out, `routes` says what each address means, `jobs` runs restorations as child
processes, `decoder` reads videos in a process of its own, `catalogue` knows the weights. The standard library's server
is enough: it serves one person, and an address that works right after the installation is worth more than the hundred
lines that a toolkit would save.
"""
