//! Frames, whatever is in them, into a guest's router: what leaves is well-formed, and no memory is lost.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::router::{InterfaceAddress, InterfaceConfig, Router, RouterConfig};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_fuzz::Input;

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// 10.0.0.1/24 and 2001:db8::1/64 at port 0, 10.0.1.1/24 and 2001:db8:1::1/64 at port 1.
fn router() -> Router {
    let interface = |n: u8| InterfaceConfig {
        mac: mac(n),
        mtu: 1500 - 100 * u16::from(n),
        addresses: vec![
            InterfaceAddress { address: [10, 0, n, 1].into(), length: 24 },
            InterfaceAddress { address: [0x2001, 0xdb8, n.into(), 0, 0, 0, 0, 1].into(), length: 64 },
        ],
    };
    let routes = ["10.2.0.0/16,via=10.0.1.2", "2001:db8:2::/48,via=2001:db8:1::2"];
    let routes = routes.iter().map(|route| route.parse().expect("a route")).collect();
    Router::new(RouterConfig { interfaces: vec![interface(0), interface(1)], routes }).expect("a sound router")
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, 1 + n])
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::new(4096).expect("memory"));
}

fuzz_target!(|data: &[u8]| POOL.with_borrow_mut(|pool| run(pool, Input(data))));

fn run(pool: &mut Pool, mut input: Input<'_>) {
    let free = pool.available();
    let mut router = router();
    let mut out = Outputs::new((0..2).map(|_| Arc::default()).collect());
    let mut now = Nanos::from_secs(1000);
    while let Some(head) = input.byte() {
        let port = head & 1;
        let len = usize::from(u16::from_ne_bytes(input.take()) % 2048);
        let mut bytes = input.slice(len).to_vec();
        mend(&mut bytes, head, port);
        let mut burst: Burst = pool.frame_from(&bytes).into_iter().collect();
        router.forward(pool, PortId(port.into()), &mut burst, &mut out, now);
        assert!(burst.is_empty());
        leave(pool, &mut out);
        if head & 0x80 != 0 {
            now = now.plus(Nanos::from_millis(700));
            router.tick(pool, &mut out, now);
            leave(pool, &mut out);
        }
    }
    // Whatever waits for a neighbour has waited in vain, and so has the error about it.
    for _ in 0..10 {
        now = now.plus(Nanos::from_secs(1));
        router.tick(pool, &mut out, now);
        leave(pool, &mut out);
    }
    assert_eq!(pool.available(), free, "chunks are lost");
}

/// Makes right what a fuzzer does not find by chance, where `how` asks for it.
fn mend(bytes: &mut [u8], how: u8, port: u8) {
    if how & 0x02 != 0 && bytes.len() >= 14 {
        bytes[..6].copy_from_slice(&mac(port).0);
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 1, 1]);
        bytes[12..14].copy_from_slice(&[IPV4, IPV6, ARP, IPV4][usize::from(how >> 2 & 3)]);
    }
    let [.., 0x08, 0x00] = bytes.get(..14).unwrap_or_default() else { return };
    let packet = &mut bytes[14..];
    if how & 0x10 != 0 && packet.len() >= 20 {
        packet[0] = 0x45;
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[10..12].fill(0);
        let sum = sum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071), the slow and obvious way.
fn sum(header: &[u8]) -> u16 {
    let mut sum = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn leave(pool: &mut Pool, out: &mut Outputs) {
    out.drain(|port, burst| {
        for frame in burst.drain(..) {
            let bytes = pool.to_vec(&frame);
            pool.free(frame);
            assert_eq!(bytes[6..12], mac(port.0 as u8).0, "not from the interface's own address");
            if bytes[12..14] == IPV4 {
                let header = usize::from(bytes[14] & 0xf) * 4;
                assert_eq!(sum(&bytes[14..14 + header]), 0, "the header checksum is wrong: {bytes:02x?}");
                let total = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
                assert!((header..=bytes.len() - 14).contains(&total), "{total} bytes in a frame of {}", bytes.len());
            }
        }
    });
}
