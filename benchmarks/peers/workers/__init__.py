"""The workers and clients of each peer, set up as its own documentation advises; all but two run in its environment.

Each module starts its worker, and with `fill N` or `idle N` it is the client: N jobs put on the queue, or N jobs one
after the other, whose times from submission to result it prints in milliseconds.
"""
