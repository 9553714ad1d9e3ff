"""The response cache: answers hot GET requests from memory, and never with a stale reply.

A reply is cached by account, path and query (`cache.py`). It is served again while two conditions hold. Both
are checked in memory, without a query.

**The version counters are unchanged** (`versions.py`). Each read table has one counter for the whole table
and 4,096 counters for its accounts, in memory that all workers of a server share. A fold increments the
counters of the accounts whose rows it writes twice: before its commit (`begin_change`) and after it
(`end_change`). The middleware reads the counters before it calls the handler and stores them with the reply.
It serves the reply only while the current counters are equal to these and no change is in progress. A command
waits until its own events are folded before it replies, so a client reads its own writes. A worker that dies
between the two increments leaves them unequal: replies of these accounts are not cached until the next
change.

**This server holds the cache lease** (`lease.py`). The counters show only the changes of this server. The
lease is a row in Postgres that is valid for a few seconds. While a server holds it, no other server may fold
and no rebuild may swap tables: a fold takes a shared advisory lock and checks the lease; acquiring the lease
takes the same lock exclusively. A server acquires the lease only while no other server is connected, and
renews it while cached paths are requested. A lease after a gap has a new epoch. The epoch is one of the
compared versions, so replies from before the gap are not served.
"""
