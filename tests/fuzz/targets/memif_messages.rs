//! Messages of a memif client, in any order, with any descriptors: read and written alike, and a server that lives on.

#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::memif::region::Region;
use pointsman_dataplane::memif::wire::{MESSAGE_LEN, Message};
use pointsman_dataplane::memif::{Memif, MemifOptions, MemifPort, Role};
use pointsman_fuzz::{Client, Input, event};

fn server() -> (PathBuf, Memif, Vec<MemifPort>) {
    let path = std::env::temp_dir().join(format!("pointsman-fuzz-messages-{}.sock", std::process::id()));
    let (memif, ports) = Memif::start(&MemifOptions::new("fuzz", &path, 0, Role::Server)).expect("a server");
    (path, memif, ports)
}

thread_local! {
    /// A server that nobody else talks to.
    static SERVER: (PathBuf, Memif, Vec<MemifPort>) = server();
}

fuzz_target!(|data: &[u8]| {
    let mut messages = Vec::new();
    let mut input = Input(data);
    while let Some(head) = input.byte() {
        let mut bytes = [0; MESSAGE_LEN];
        bytes[0] = head & 0xf;
        let body = input.slice(usize::from(head >> 4) * 8);
        for (to, from) in bytes[2..].iter_mut().zip(body) {
            *to = *from;
        }
        if let Ok(message) = Message::decode(&bytes) {
            assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
            assert!(!message.kind().is_empty());
        }
        let fds = input.byte().unwrap_or_default();
        // Now and then a packet of another length.
        let len = if fds & 0xf0 == 0xf0 { usize::from(head) } else { MESSAGE_LEN };
        messages.push((bytes, len.min(MESSAGE_LEN), fds & 0xf));
    }
    let _ = Message::decode(data);
    let Ok(client) = SERVER.with(|(path, ..)| Client::connect(path)) else { return };
    let _hello = client.receive();
    for (bytes, len, fds) in messages.into_iter().take(16) {
        let memory = || Region::create(1 << 16).and_then(|region| region.file()).expect("memory");
        let given = match fds {
            0 => vec![],
            1..=6 => vec![memory()],
            7..=12 => vec![event().expect("an eventfd")],
            13 => vec![std::fs::File::open("/dev/null").expect("a file").into()],
            _ => vec![memory(), event().expect("an eventfd")],
        };
        if client.send(&bytes[..len], &given.iter().collect::<Vec<_>>()).is_err() {
            return;
        }
        if matches!(client.receive(), Err(_) | Ok(Message::Disconnect { .. })) {
            return;
        }
    }
});
