//! Compiles every `src/*.bpf.c` and generates its skeleton.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use libbpf_cargo::SkeletonBuilder;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // clang's BPF target does not know the host's multiarch directory, where Debian keeps asm/types.h.
    let machine = Command::new("gcc").arg("-dumpmachine").output().expect("gcc must be installed");
    let machine = String::from_utf8_lossy(&machine.stdout).trim().to_owned();
    for entry in fs::read_dir("src").expect("src exists") {
        let source = entry.expect("src is readable").path();
        let name = source.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".bpf.c") else { continue };
        println!("cargo:rerun-if-changed={}", source.display());
        SkeletonBuilder::new()
            .source(&source)
            .clang_args([format!("-I/usr/include/{machine}"), "-Wall".into(), "-mcpu=v3".into()])
            .build_and_generate(out.join(format!("{stem}.skel.rs")))
            .unwrap_or_else(|e| panic!("{name}: {e:#}\n(clang and libelf-dev must be installed)"));
    }
    // The folder too, for files that are new.
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=build.rs");
}
