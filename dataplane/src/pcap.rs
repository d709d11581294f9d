//! A capture file as a port: replay and record.
