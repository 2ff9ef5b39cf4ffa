//! Start, watch and end child processes that run a function of this program.
