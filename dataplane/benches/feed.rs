//! How long a feed takes for a full table: a million routes through a unix socket, each a frame of its own as FRR sends them,
//! read and told to a sink that only counts.
//!
//! `cargo bench -p pointsman-dataplane --bench feed [ROUTES]`: seconds from the first byte written to the last change told.

use std::hint::black_box;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pointsman_dataplane::fpm::frame;
use pointsman_dataplane::fpm::netlink::{
    NextHopId, RouteType, Target, WireHop, flag, kind, write_next_hop, write_route,
};
use pointsman_dataplane::fpm::{Feed, FeedConfig, IfIndex, Place, Refusal, Sink, TableId};
use pointsman_dataplane::prefix::Prefix;
use pointsman_dataplane::rib::{Change, InterfaceId};

struct Count(Arc<AtomicUsize>);

impl Sink for Count {
    fn interface(&self, _: TableId, device: IfIndex) -> Option<InterfaceId> {
        u16::try_from(device.0).ok().map(InterfaceId)
    }

    fn change(&mut self, _: TableId, change: Change) -> Result<(), Refusal> {
        if matches!(black_box(&change), Change::Replace(_) | Change::Delete(..)) {
            self.0.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn begin_sync(&mut self) {}

    fn end_sync(&mut self) {}
}

fn main() {
    // Cargo adds `--bench`.
    let routes = std::env::args().skip(1).find_map(|n| n.parse().ok()).unwrap_or(1_000_000);
    let path = std::env::temp_dir().join(format!("pointsman-bench-feed-{}", std::process::id()));
    let done = Arc::new(AtomicUsize::new(0));
    let config = FeedConfig {
        name: "bench".into(),
        listen: Place::Unix(path.clone()),
        netns: None,
        tables: vec![TableId::MAIN],
        stale: Duration::from_secs(3600),
        keep: None,
    };
    let feed = Feed::start(config, Box::new(Count(Arc::clone(&done)))).expect("a feed");
    let mut client = UnixStream::connect(&path).expect("a client");
    let hops = |n: u8| WireHop {
        gateway: Some(Ipv4Addr::new(10, 0, 0, n).into()),
        device: Some(IfIndex(1)),
        weight: 1,
        encapsulation: None,
        dead: false,
    };
    let prefix =
        |n: usize| Prefix::of(Ipv4Addr::from_bits(0x0100_0000 + ((n as u32) << 8)).into(), 24).expect("a prefix");
    let change = (kind::NEW_ROUTE, flag::REQUEST | flag::CREATE | flag::REPLACE);
    let delete = (kind::DELETE_ROUTE, flag::REQUEST);
    let mut objects = Vec::new();
    for n in 1..=100 {
        let mut message = Vec::new();
        write_next_hop(&mut message, (kind::NEW_NEXT_HOP, flag::REPLACE), NextHopId(n), Some(&hops(n as u8)), &[]);
        frame::write(&mut objects, &message);
    }
    client.write_all(&objects).expect("written");
    let mut told = 0;
    let mut run = |what: &str, write: &dyn Fn(&mut Vec<u8>, usize)| {
        let (mut stream, mut message) = (Vec::new(), Vec::new());
        for n in 0..routes {
            message.clear();
            write(&mut message, n);
            frame::write(&mut stream, &message);
        }
        told += routes;
        let begin = Instant::now();
        client.write_all(&stream).expect("written");
        while done.load(Relaxed) < told {
            std::thread::sleep(Duration::from_millis(1));
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("{routes} routes, {what}: {seconds:.3} s ({} bytes)", stream.len());
    };
    run("added by next hop object", &|out, n| {
        let target = Target::NextHop(NextHopId(1 + (n % 100) as u32));
        write_route(out, change, TableId::MAIN, (prefix(n), Some(20)), RouteType::Unicast, target);
    });
    run("replaced by a way", &|out, n| {
        let target = [hops((n % 100) as u8)];
        write_route(out, change, TableId::MAIN, (prefix(n), Some(20)), RouteType::Unicast, Target::Hops(&target));
    });
    run("replaced by four ways", &|out, n| {
        let target = [hops(1), hops(2), hops(3), hops((n % 100) as u8)];
        write_route(out, change, TableId::MAIN, (prefix(n), Some(20)), RouteType::Unicast, Target::Hops(&target));
    });
    run("taken back", &|out, n| {
        let to = (prefix(n), Some(20));
        write_route(out, delete, TableId::MAIN, to, RouteType::Unspecified, Target::Unsaid);
    });
    assert!(feed.report().refused.is_empty(), "{:?}", feed.report());
}
