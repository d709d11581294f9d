//! Bounded single-producer single-consumer rings that carry frames between workers.
