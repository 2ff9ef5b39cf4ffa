//! A pool of worker processes that a killed worker cannot hang.
