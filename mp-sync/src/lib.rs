//! Locks, shared values and queues that survive the death of their holders.
