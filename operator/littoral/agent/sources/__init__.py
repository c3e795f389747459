"""Where artifacts come from. Each module knows one kind of place; `transfer` brings bytes from any of them to disk.

A source is asked for ranges of bytes and gives them in chunks (`transfer.Source`). What is common to all is done once:
resuming, parallel ranges, the digest, the cap on the bandwidth, progress.
"""
