//! A tap device as a port.
