//! The XDP programs of Pointsman, and the skeletons generated from them. No logic: only what clang and libbpf make.

/// `pointsman.bpf.c`: who gets a frame that arrives on an uplink.
#[allow(missing_docs, clippy::all)]
pub mod pointsman {
    include!(concat!(env!("OUT_DIR"), "/pointsman.skel.rs"));
}

/// `traffic.bpf.c`: the benchmark's generator and sink, and the program of its in-kernel peer.
#[allow(missing_docs, clippy::all)]
pub mod traffic {
    include!(concat!(env!("OUT_DIR"), "/traffic.skel.rs"));
}
