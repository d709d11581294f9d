//! Infrastructures made at random, all of them sound: names resolve, events are there, bounds are in order.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use pointsman_vxi::model::*;

/// Text that files can hold, with everything that needs care in one syntax or the other.
fn text() -> impl Strategy<Value = String> {
    let plain = "[a-zA-Z0-9_.][a-zA-Z0-9_. -]{0,10}[a-zA-Z0-9_.]";
    let hostile = select(vec![
        "<&>\"'",
        "]]>",
        "&amp;",
        "a\nb\tc",
        "\\ \\n \"\"\"",
        "# no comment",
        "ü ≥ 漢 \u{1f600}",
        "<!-- no -->",
        "é\u{a0}x",
        "[1]=2",
    ]);
    prop_oneof![3 => plain.prop_map(|s: String| s.trim().to_owned()), 1 => hostile.prop_map(str::to_owned)]
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.3, text())
}

fn quantity<Q: Quantity>() -> impl Strategy<Value = Q> {
    let scales: Vec<u64> = Q::UNITS.iter().map(|(_, scale)| *scale).chain([1]).collect();
    // Cardinalities are at most 9 here, so that no sum overflows.
    prop_oneof![4 => (0..5_000_u64, select(scales)).prop_map(|(n, scale)| Q::of(n.saturating_mul(scale))),
        1 => (0..u64::MAX / 16).prop_map(Q::of)]
}

fn amount<Q: Quantity>() -> impl Strategy<Value = Amount<Q>> {
    let pair = || (quantity::<Q>(), quantity::<Q>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        3 => quantity().prop_map(Amount::Exactly),
        2 => quantity().prop_map(Amount::at_least),
        2 => quantity().prop_map(Amount::at_most),
        1 => pair().prop_map(|(min, max)| Amount::Range { min: Some(min), max: Some(max) }),
        1 => vec(quantity(), 2..5).prop_map(Amount::OneOf),
        1 => (pair(), quantity::<Q>()).prop_map(|((min, max), step)| Amount::Scale {
            min,
            max,
            step: Q::of(step.base().max(1)),
        }),
    ]
}

/// A capacity over some of the events, in their order.
fn capacity<Q: Quantity + 'static>(events: Vec<String>) -> impl Strategy<Value = Capacity<Q>> {
    let n = events.len() + 1;
    vec(option::weighted(0.3, amount()), n).prop_map(move |amounts| {
        let names = std::iter::once(None).chain(events.iter().map(|event| Some(Name::from(event.as_str()))));
        let steps = names
            .zip(amounts)
            .filter_map(|(event, amount)| amount.map(|amount| Step { event, amount, at: At::NOWHERE }));
        Capacity { steps: steps.collect() }
    })
}

fn resource(id: String) -> impl Strategy<Value = Resource> {
    let location = option::weighted(0.3, text().prop_map(|site| Name::from(format!("at {site}"))));
    let tag = (option::weighted(0.8, text().prop_map(|key| format!("x {key}"))), option::of(text()))
        .prop_map(|(key, value)| Tag { key, value })
        .prop_filter("a tag has a key or a value", |tag| tag.key.is_some() || tag.value.is_some());
    let rest = (some_text(), any::<bool>(), any::<bool>(), option::weighted(0.3, any::<u64>()), vec(tag, 0..3));
    (location, rest).prop_map(move |(location, (model, exclusive, provisioned, cost, tags))| Resource {
        id: id.clone(),
        location,
        model,
        exclusive,
        provisioned,
        cost: cost.map(Cost),
        tags,
        ..Resource::default()
    })
}

fn node(id: String, events: Vec<String>) -> impl Strategy<Value = Node> {
    let cpu = (some_text(), capacity(events.clone()), capacity(events.clone()))
        .prop_map(|(architecture, cores, frequency)| Cpu { architecture, cores, frequency });
    let sizes = (capacity(events.clone()), capacity(events));
    (resource(id), vec(text(), 0..3), some_text(), some_text(), sizes, cpu).prop_map(
        |(resource, devices, image, region, (memory, storage), cpu)| Node {
            resource,
            devices,
            image,
            region,
            memory,
            storage,
            cpu,
        },
    )
}

fn storage(id: String, events: Vec<String>) -> impl Strategy<Value = Storage> {
    (resource(id), some_text(), some_text(), some_text(), capacity(events))
        .prop_map(|(resource, kind, image, region, size)| Storage { resource, kind, image, region, size })
}

/// A router whose links are `links`.
fn router(id: String, events: Vec<String>, links: Vec<String>) -> impl Strategy<Value = Router> {
    let link = option::of(select(links)).prop_map(|name| name.map(Name::from));
    let route = (text(), text(), link.clone(), link).prop_map(|(source, destination, link_in, link_out)| Route {
        source,
        destination,
        link_in,
        link_out,
    });
    let table = (option::of(3_u32..), vec(route, 0..3)).prop_map(|(size, routes)| RoutingTable {
        size,
        routes,
        at: At::NOWHERE,
    });
    let control = (some_text(), some_text(), some_text(), option::of(table))
        .prop_map(|(layer, kind, protocol, table)| ControlPlane { layer, kind, protocol, table });
    let ports = option::of(100_u32..200).prop_map(|n| {
        n.map(|count| Ports { count, map: vec![Port { number: 100, to: "a0".into() }], at: At::NOWHERE })
    });
    (resource(id), some_text(), ports, capacity(events), option::of(control))
        .prop_map(|(resource, region, ports, memory, control)| Router { resource, region, ports, memory, control })
}

fn access_point(id: String) -> impl Strategy<Value = AccessPoint> {
    let name = || Just(Name::from("a0"));
    let balancer = (vec(name(), 0..3), some_text(), option::of(any::<u32>()))
        .prop_map(|(endpoints, region, addresses)| LoadBalancer { endpoints, region, addresses });
    let nat = (option::of(name()), option::of(1_u16..), some_text(), some_text(), option::of(1_u16..)).prop_map(
        |(endpoint, in_port, protocol, region, out_port)| Nat { endpoint, in_port, protocol, region, out_port },
    );
    let masquerade = (vec(name(), 0..3), some_text()).prop_map(|(endpoints, region)| Masquerade { endpoints, region });
    (resource(id), some_text(), vec(balancer, 0..2), vec(nat, 0..2), vec(masquerade, 0..2)).prop_map(
        |(resource, region, load_balancers, nats, masquerades)| AccessPoint {
            resource,
            region,
            load_balancers,
            nats,
            masquerades,
        },
    )
}

/// The `n`th link between two of the vertices; at a router it has the port `n`.
fn link(n: u32, id: String, vertices: Vec<String>, events: Vec<String>) -> impl Strategy<Value = Link> {
    let ends = (0..vertices.len(), 1..vertices.len()).prop_map(move |(a, step)| {
        let end = |at: usize, port: u32| {
            let mut end = Endpoint::from(vertices[at % vertices.len()].as_str());
            if end.component.starts_with('r') {
                end.port = Some(port);
            } else if end.component.starts_with('n') {
                end.interface = Some(format!("eth{port}"));
            }
            end
        };
        (end(a, n + 1), end(a + step, n + 50))
    });
    let bandwidths = (capacity(events.clone()), capacity(events.clone()), any::<bool>());
    let rest = (capacity(events), any::<bool>(), some_text(), any::<bool>());
    (resource(id), ends, bandwidths, rest).prop_map(
        |(resource, (source, destination), (forward, other, same), (latency, per, definition, fixed))| {
            let reverse = if same { forward.clone() } else { other };
            let per = if per { Per::Element } else { Per::Group };
            let mut link =
                Link { resource, source, destination, forward, reverse, latency, per, definition, ..Link::default() };
            link.direction = if fixed { Direction::Both } else { link.implied_direction() };
            link
        },
    )
}

fn components(prefix: &'static str, events: Vec<String>) -> impl Strategy<Value = Components> {
    let name = move |kind: &str, n: usize| format!("{kind}{prefix}{n}");
    let vertices: Vec<String> = ["n", "s", "r", "a"].iter().flat_map(|k| [name(k, 0), name(k, 1)]).collect();
    let links: Vec<String> = (0..3).map(|n| name("l", n)).collect();
    let both = events.clone();
    let of = |n: usize| (0..=n).collect::<Vec<_>>();
    let nodes: Vec<_> = of(1).into_iter().map(|n| node(name("n", n), both.clone())).collect();
    let storages: Vec<_> = of(1).into_iter().map(|n| storage(name("s", n), both.clone())).collect();
    let routers: Vec<_> = of(1).into_iter().map(|n| router(name("r", n), both.clone(), links.clone())).collect();
    let access_points: Vec<_> = of(1).into_iter().map(|n| access_point(name("a", n))).collect();
    let made: Vec<_> =
        links.iter().enumerate().map(|(n, id)| link(n as u32, id.clone(), vertices.clone(), events.clone())).collect();
    (nodes, storages, routers, access_points, made).prop_map(|(nodes, storages, routers, access_points, links)| {
        Components { nodes, storages, routers, access_points, links }
    })
}

/// A sound infrastructure as a reader would return it.
pub fn infrastructure() -> impl Strategy<Value = VirtualInfrastructure> {
    let events = prop_oneof![Just(vec![]), Just(vec!["I", "II, later", "\"third\""])];
    let delays = (0..1_000_u64, 1..10_000_000_000_u64);
    (events, delays).prop_flat_map(|(names, (first, gap))| {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let events: Vec<Event> = names
            .iter()
            .zip(0_u64..)
            .map(|(id, n)| Event { id: id.clone(), delay: Nanos(first + n * gap), at: At::NOWHERE })
            .collect();
        let whole = (text(), some_text(), vec(text(), 0..3), option::of(0_i64..4_000_000_000_000_000_000));
        let members = components("m", names.clone());
        let array = (members, 1_u32..10, some_text()).prop_map(|(members, cardinality, location)| Array {
            id: "array".into(),
            location: location.map(|site| Name::from(format!("at {site}"))),
            cardinality,
            members,
            at: At::NOWHERE,
        });
        let total = option::of(50_000_000_000_u64..5_000_000_000_000_000_000);
        (whole, components("", names), option::of(array), total).prop_map(
            move |((id, owner, users, start), components, array, total)| VirtualInfrastructure {
                id,
                owner,
                users,
                start: start.map(Timestamp),
                total: total.map(Nanos),
                components,
                arrays: array.into_iter().collect(),
                timeline: Timeline { events: events.clone() },
                ..VirtualInfrastructure::default()
            },
        )
    })
}
