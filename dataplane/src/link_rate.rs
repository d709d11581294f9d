//! A line rate put on a port: a token bucket and a bounded queue.
