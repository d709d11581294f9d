//! The configuration file: read, checked whole, never half applied.
