//! Arrays: components that are there several times, and how they become single ones.

use std::collections::{HashMap, HashSet};

use super::at::{At, Name};
use super::capacity::{Capacity, Step};
use super::component::{AccessPoint, Resource};
use super::link::{Endpoint, Link, Per};
use super::quantity::{BitsPerSecond, Quantity};
use super::{Components, VirtualInfrastructure};

/// Components and links that an expanded infrastructure may have.
pub const MAX_ELEMENTS: usize = 1_000_000;

/// `vArray`: its members, so many times each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Array {
    /// Its name. A link to the array is a link to all of its elements.
    pub id: String,
    /// The anchor of its members that have none of their own.
    pub location: Option<Name>,
    /// How often each member is there: the paper's count `n`, at least 1.
    pub cardinality: u32,
    /// What is there so many times.
    pub members: Components,
    /// Where it was written.
    pub at: At,
}

/// Why an infrastructure cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// It would have too many components.
    #[error(
        "{id}: more than {MAX_ELEMENTS} components and links once all arrays are expanded; lower the cardinality of \
         its arrays, or link arrays through a router instead of each element with each"
    )]
    TooMany {
        /// The infrastructure.
        id: String,
    },
}

impl Array {
    /// The name of the `n`th element of a member, from 1.
    pub fn element(member: &str, n: u32) -> String {
        format!("{member}[{n}]")
    }
}

impl VirtualInfrastructure {
    /// The same without arrays: element `n` of member `m` is called `m[n]`, and links to an array are links to each of
    /// its elements.
    ///
    /// A link `l` becomes `l[n]` where one end has several elements and `l[n,m]` where both have; an array linked to
    /// itself is a full mesh. The bandwidth of a link is the array's as a whole and each of its links gets an equal
    /// share, rounded up to whole bit/s, unless the link says that it is per element. A router's port that leads to an
    /// array leads to all of its elements. A port map names no elements: entries that lead to an array are left out,
    /// since the links say it as well.
    ///
    /// # Errors
    /// There would be more than [`MAX_ELEMENTS`].
    pub fn expand(&self) -> Result<Self, ExpandError> {
        let mut expansion = Expansion::of(self);
        let vertices = |array: &Array| array.members.vertices() as u64 * u64::from(array.cardinality);
        let total = self.arrays.iter().map(vertices).sum::<u64>() + self.components.vertices() as u64;
        if total > MAX_ELEMENTS as u64 {
            return Err(expansion.too_many());
        }
        expansion.add_vertices(&self.components, None);
        for link in &self.components.links {
            expansion.add_link(link, None)?;
        }
        for array in &self.arrays {
            for n in 1..=array.cardinality {
                expansion.add_vertices(&array.members, Some((array, n)));
            }
            for link in &array.members.links {
                for n in 1..=array.cardinality {
                    expansion.add_link(link, Some((array, n)))?;
                }
            }
        }
        let components = expansion.out;
        Ok(Self { components, arrays: Vec::new(), ..self.without_components() })
    }

    /// The infrastructure alone.
    fn without_components(&self) -> Self {
        Self {
            id: self.id.clone(),
            location: self.location.clone(),
            start: self.start,
            total: self.total,
            owner: self.owner.clone(),
            users: self.users.clone(),
            components: Components::default(),
            arrays: Vec::new(),
            timeline: self.timeline.clone(),
            origin: self.origin.clone(),
            at: self.at,
            lease_at: self.lease_at,
        }
    }
}

/// The element of an array that is being made.
type Element<'m> = Option<(&'m Array, u32)>;

struct Expansion<'m> {
    from: &'m VirtualInfrastructure,
    /// Members of each array and of each member itself, by the name that a link can use.
    groups: HashMap<&'m str, (&'m Array, Vec<&'m str>)>,
    /// Links that stay one.
    single: HashSet<&'m str>,
    out: Components,
}

impl<'m> Expansion<'m> {
    fn of(from: &'m VirtualInfrastructure) -> Self {
        let mut groups = HashMap::new();
        for array in &from.arrays {
            let members: Vec<&str> = array.members.vertex_resources().map(|resource| resource.id.as_str()).collect();
            for &member in &members {
                groups.insert(member, (array, vec![member]));
            }
            groups.insert(&array.id, (array, members));
        }
        let one = |end: &Endpoint| !groups.contains_key(&*end.component);
        let single = from.components.links.iter().filter(|link| one(&link.source) && one(&link.destination));
        let single = single.map(|link| link.resource.id.as_str()).collect();
        Self { from, groups, single, out: Components::default() }
    }

    fn too_many(&self) -> ExpandError {
        ExpandError::TooMany { id: self.from.id.clone() }
    }

    fn add_vertices(&mut self, members: &Components, element: Element<'m>) {
        for node in &members.nodes {
            let resource = self.resource(&node.resource, element);
            self.out.nodes.push(super::Node { resource, ..node.clone() });
        }
        for storage in &members.storages {
            let resource = self.resource(&storage.resource, element);
            self.out.storages.push(super::Storage { resource, ..storage.clone() });
        }
        for router in &members.routers {
            let resource = self.resource(&router.resource, element);
            let mut router = super::Router { resource, ..router.clone() };
            if let Some(ports) = &mut router.ports {
                ports.map.retain(|port| !self.groups.contains_key(&*port.to));
            }
            if let Some(table) = router.control.as_mut().and_then(|control| control.table.as_mut()) {
                for link in table.routes.iter_mut().flat_map(|route| [&mut route.link_in, &mut route.link_out]) {
                    // A link that became many no longer is the one that the route names.
                    link.take_if(|link| !self.single.contains(&*link.text));
                }
            }
            self.out.routers.push(router);
        }
        for access_point in &members.access_points {
            let resource = self.resource(&access_point.resource, element);
            let mut access_point = AccessPoint { resource, ..access_point.clone() };
            let lists = access_point.load_balancers.iter_mut().map(|balancer| &mut balancer.endpoints);
            let lists = lists.chain(access_point.masquerades.iter_mut().map(|masquerade| &mut masquerade.endpoints));
            for list in lists {
                *list = list.iter().flat_map(|name| self.elements(name, element)).map(Name::from).collect();
            }
            for nat in &mut access_point.nats {
                // Of several the first: a port can be handed on to one alone.
                let first = nat.endpoint.as_ref().and_then(|name| self.elements(name, element).into_iter().next());
                nat.endpoint = first.map(Name::from);
            }
            self.out.access_points.push(access_point);
        }
    }

    /// The resource of one element: its name, and its anchor if it has only its array's.
    fn resource(&self, resource: &Resource, element: Element<'m>) -> Resource {
        let Some((array, n)) = element else { return resource.clone() };
        let location = resource.location.as_ref().or(array.location.as_ref()).map(|location| {
            let sibling = self.groups.get(&*location.text).is_some_and(|(of, _)| std::ptr::eq(*of, array));
            if sibling { Name::new(Array::element(location, n), location.at) } else { location.clone() }
        });
        Resource { id: Array::element(&resource.id, n), location, ..resource.clone() }
    }

    /// What a name stands for: itself, all elements of an array, or the sibling with the same number.
    fn elements(&self, name: &str, element: Element<'m>) -> Vec<String> {
        match (self.groups.get(name), element) {
            (None, _) => vec![name.to_owned()],
            (Some((of, members)), Some((array, n))) if std::ptr::eq(*of, array) => {
                members.iter().map(|member| Array::element(member, n)).collect()
            }
            (Some((of, members)), _) => {
                let all =
                    |member: &&'m str| (1..=of.cardinality).map(|n| Array::element(member, n)).collect::<Vec<_>>();
                members.iter().flat_map(all).collect()
            }
        }
    }

    fn count(&self, name: &str, element: Element<'m>) -> u64 {
        match (self.groups.get(name), element) {
            (None, _) => 1,
            (Some((of, members)), Some((array, _))) if std::ptr::eq(*of, array) => members.len() as u64,
            (Some((of, members)), _) => members.len() as u64 * u64::from(of.cardinality),
        }
    }

    fn add_link(&mut self, link: &Link, element: Element<'m>) -> Result<(), ExpandError> {
        let (from, to) = (&*link.source.component, &*link.destination.component);
        let (sources, destinations) = (self.count(from, element), self.count(to, element));
        if sources * destinations > (MAX_ELEMENTS - self.out.links.len().min(MAX_ELEMENTS)) as u64 {
            return Err(self.too_many());
        }
        let within = from == to;
        let pairs = if within { sources * sources.saturating_sub(1) / 2 } else { sources * destinations };
        let shares = if link.per == Per::Group { pairs.max(1) } else { 1 };
        let (sources, destinations) = (self.elements(from, element), self.elements(to, element));
        let (many_sources, many_destinations) = (sources.len() > 1, destinations.len() > 1);
        let resource = self.resource(&link.resource, element);
        for (i, source) in sources.iter().enumerate() {
            for (j, destination) in destinations.iter().enumerate() {
                if within && i >= j {
                    continue;
                }
                let number = match (many_sources, many_destinations) {
                    (false, false) => String::new(),
                    (true, false) => format!("[{}]", i + 1),
                    (false, true) => format!("[{}]", j + 1),
                    (true, true) => format!("[{},{}]", i + 1, j + 1),
                };
                self.out.links.push(Link {
                    resource: Resource { id: format!("{}{number}", resource.id), ..resource.clone() },
                    source: at_element(&link.source, source),
                    destination: at_element(&link.destination, destination),
                    forward: share(&link.forward, shares),
                    reverse: share(&link.reverse, shares),
                    ..link.clone()
                });
            }
        }
        Ok(())
    }
}

fn at_element(end: &Endpoint, element: &str) -> Endpoint {
    Endpoint { component: Name::new(element, end.component.at), ..end.clone() }
}

/// One of so many equal shares.
fn share(whole: &Capacity<BitsPerSecond>, shares: u64) -> Capacity<BitsPerSecond> {
    let part = |q: BitsPerSecond| BitsPerSecond::of(q.base().div_ceil(shares));
    let steps = whole.steps.iter().map(|step| Step { amount: step.amount.map(part), ..step.clone() });
    Capacity { steps: steps.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::{Amount, Node};
    use super::*;

    fn nodes(id: &str, cardinality: u32) -> Array {
        let member = Node { resource: Resource::named(format!("{id}-node")), ..Node::default() };
        let members = Components { nodes: vec![member], ..Components::default() };
        Array { id: id.into(), location: Some("lyon".into()), cardinality, members, at: At::NOWHERE }
    }

    fn link(source: &str, destination: &str, mbps: u64) -> Link {
        Link {
            resource: Resource::named(format!("{source}-{destination}")),
            source: source.into(),
            destination: destination.into(),
            forward: Capacity::exactly(BitsPerSecond::from_mbps(mbps)),
            ..Link::default()
        }
    }

    fn request(links: Vec<Link>) -> VirtualInfrastructure {
        let hub = Node { resource: Resource::named("hub"), ..Node::default() };
        let components = Components { nodes: vec![hub], links, ..Components::default() };
        VirtualInfrastructure { components, arrays: vec![nodes("C", 2), nodes("I", 3)], ..Default::default() }
    }

    fn expanded(links: Vec<Link>) -> Vec<(String, String, u64)> {
        let whole = request(links).expand().expect("few elements");
        let of = |link: &Link| match link.forward.steps[0].amount {
            Amount::Exactly(q) => (link.resource.id.clone(), link.destination.component.text.clone(), q.0),
            _ => unreachable!("links of this test are exact"),
        };
        whole.components.links.iter().map(of).collect()
    }

    #[test]
    fn elements_are_named_and_anchored() {
        let whole = request(vec![]).expand().expect("few elements");
        let names: Vec<_> = whole.components.nodes.iter().map(|node| node.resource.id.as_str()).collect();
        assert_eq!(names, ["hub", "C-node[1]", "C-node[2]", "I-node[1]", "I-node[2]", "I-node[3]"]);
        assert_eq!(whole.components.nodes[1].resource.location.as_deref(), Some("lyon"));
        assert!(whole.arrays.is_empty());
    }

    #[test]
    fn a_link_to_an_array_is_shared_by_its_elements() {
        let part = 33_333_334;
        let to = |n: u32| (format!("hub-I[{n}]"), format!("I-node[{n}]"), part);
        assert_eq!(expanded(vec![link("hub", "I", 100)]), [to(1), to(2), to(3)]);
        let mesh = expanded(vec![link("C", "I", 600)]);
        assert_eq!(mesh.len(), 6);
        assert_eq!(mesh[5], ("C-I[2,3]".into(), "I-node[3]".into(), 100_000_000));
        let within = expanded(vec![link("I", "I", 300)]);
        assert_eq!(within.len(), 3);
        assert_eq!(within[0], ("I-I[1,2]".into(), "I-node[2]".into(), 100_000_000));
    }

    #[test]
    fn a_link_per_element_is_not_shared() {
        let each = Link { per: Per::Element, ..link("hub", "I-node", 100) };
        assert!(expanded(vec![each]).iter().all(|(.., bps)| *bps == 100_000_000));
    }

    #[test]
    fn a_link_within_an_array_stays_within_its_element() {
        let mut request = request(vec![]);
        let storage = super::super::Storage { resource: Resource::named("I-disk"), ..Default::default() };
        request.arrays[1].members.storages.push(storage);
        request.arrays[1].members.links.push(link("I-node", "I-disk", 10));
        let whole = request.expand().expect("few elements");
        let ends: Vec<_> =
            whole.components.links.iter().map(|l| (&*l.source.component, &*l.destination.component)).collect();
        assert_eq!(ends, [("I-node[1]", "I-disk[1]"), ("I-node[2]", "I-disk[2]"), ("I-node[3]", "I-disk[3]")]);
        assert_eq!(whole.components.links[2].resource.id, "I-node-I-disk[3]");
    }

    #[test]
    fn what_would_not_fit_is_refused_before_it_is_made() {
        let mut many = request(vec![]);
        many.arrays[0].cardinality = u32::MAX;
        assert!(matches!(many.expand(), Err(ExpandError::TooMany { .. })));
        let mut mesh = request(vec![link("C", "I", 1)]);
        mesh.arrays[0].cardinality = 2_000;
        mesh.arrays[1].cardinality = 2_000;
        let error = mesh.expand().expect_err("four million links").to_string();
        assert!(error.contains("more than 1000000 components"), "{error}");
    }
}
