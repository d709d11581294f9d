//! The XDP programs of Pointsman, and the skeletons generated from them. No logic: only what clang and libbpf make.

/// `pointsman.bpf.c`: who gets a frame that arrives on an uplink.
#[allow(missing_docs, clippy::all)]
pub mod pointsman {
    include!(concat!(env!("OUT_DIR"), "/pointsman.skel.rs"));
}
