//! How fast a large description is read and checked: `cargo bench -p pointsman-vxi`.
//!
//! The infrastructure is made here: a ring of routers with nodes behind each, periods, ports and tags, written as
//! canonical VXDL. Reported is the median of several runs in MB/s of the file, beside the XML parser alone.

use std::path::Path;
use std::time::Instant;

use pointsman_vxi::language::Syntax;
use pointsman_vxi::model::*;
use pointsman_vxi::parse;

const ROUTERS: usize = 4_000;
const NODES: usize = 10;
const RUNS: usize = 7;

fn main() {
    let made = infrastructure();
    for syntax in [Syntax::Vxdl, Syntax::Toml] {
        let text = syntax.write(&made).expect("both are written");
        let megabytes = text.len() as f64 / 1e6;
        let whole = median(|| {
            let read = parse(&text, Path::new("made")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            assert_eq!(read.components.links.len(), made.components.links.len());
        });
        let rate = megabytes / whole;
        println!("{}: {megabytes:.1} MB read and checked in {:.0} ms: {rate:.0} MB/s", syntax.name(), whole * 1e3);
        if syntax == Syntax::Vxdl {
            let alone = median(|| assert!(roxmltree::Document::parse(&text).is_ok()));
            println!("{}: roxmltree alone: {:.0} MB/s", syntax.name(), megabytes / alone);
        }
    }
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn infrastructure() -> VirtualInfrastructure {
    let mut components = Components::default();
    let link = |id: String, from: Endpoint, to: Endpoint| Link {
        resource: Resource::named(id),
        source: from,
        destination: to,
        forward: Capacity {
            steps: ["I", "II"]
                .into_iter()
                .map(|event| Step {
                    event: Some(event.into()),
                    amount: Amount::at_least(BitsPerSecond::from_mbps(300)),
                    at: At::NOWHERE,
                })
                .collect(),
        },
        latency: Capacity::constant(Amount::at_most(Nanos::from_millis(5))),
        direction: Direction::Forward,
        ..Link::default()
    };
    let at_port = |id: String, port: u32| Endpoint { port: Some(port), ..Endpoint::from(id.as_str()) };
    for r in 0..ROUTERS {
        let id = format!("router-{r}");
        let ports = Ports { count: NODES as u32 + 2, ..Ports::default() };
        components.routers.push(Router {
            resource: Resource { location: Some("lyon.example.org".into()), ..Resource::named(id.clone()) },
            ports: Some(ports),
            memory: Capacity::exactly(Bytes::from_mib(256)),
            ..Router::default()
        });
        let next = format!("router-{}", (r + 1) % ROUTERS);
        components.links.push(link(format!("ring-{r}"), at_port(id.clone(), 1), at_port(next, 2)));
        for n in 0..NODES {
            let node = format!("node-{r}-{n}");
            components.nodes.push(Node {
                resource: Resource::named(node.clone()),
                memory: Capacity::constant(Amount::at_least(Bytes::from_mib(2_048))),
                cpu: Cpu { cores: Capacity::exactly(Count(2)), ..Cpu::default() },
                ..Node::default()
            });
            let to = at_port(id.clone(), n as u32 + 3);
            components.links.push(link(format!("link-{r}-{n}"), Endpoint::from(node.as_str()), to));
        }
    }
    let event = |id: &str, s: u64| Event { id: id.into(), delay: Nanos::from_secs(s), at: At::NOWHERE };
    VirtualInfrastructure {
        id: "made".into(),
        components,
        timeline: Timeline { events: vec![event("I", 0), event("II", 3600)] },
        ..VirtualInfrastructure::default()
    }
}
