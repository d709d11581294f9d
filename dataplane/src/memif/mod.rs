//! memif: frames to and from a local process through shared memory.
