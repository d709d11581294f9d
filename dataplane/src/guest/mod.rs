//! The guest's side: a software router and a patch to a tap, each a forwarder over memif ports.
