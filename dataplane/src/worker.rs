//! A worker: a pinned thread that owns ports and does all of their work.
