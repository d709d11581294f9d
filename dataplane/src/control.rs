//! The control socket: what `pointsman show` asks.
