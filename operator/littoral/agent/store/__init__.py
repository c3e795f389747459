"""The content-addressed cache on the node: artifacts by digest, each there whole or not at all.

    <cache>/sha256/<name>/artifact      the file, or the directory
    <cache>/sha256/<name>/entry.json    its size, and for an unpacked archive the digest of each file
    <cache>/incoming/<name>/            what is being fetched, or was when a fetch broke: the next try goes on there
    <cache>/trash/                      what is being deleted
    <cache>/locks/<name>                held while <name> is fetched, checked or removed
    <cache>/pins/<agent>/<name>         <name> is in use by that agent, while its lock file there is held

A name is the digest in hex, with a suffix where an archive was unpacked. An entry appears and disappears by one
rename: whoever is killed at whatever moment leaves a good cache. Entries are never changed in place. Nothing here
needs a daemon or a database: the agents of a node share the directory, and the kernel frees the locks of the dead.
"""

from littoral.agent.store.entries import Entry
from littoral.agent.store.quota import Quota
from littoral.agent.store.space import NoSpace
from littoral.agent.store.store import DigestError, Fetch, Store, Unpack

__all__ = ["DigestError", "Entry", "Fetch", "NoSpace", "Quota", "Store", "Unpack"]
